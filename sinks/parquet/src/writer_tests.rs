//! The file is the one that parquet's own writer writes, whoever encodes columns.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard};
use std::thread;

use arrow::array::{ArrayRef, Int64Array, ListBuilder, StringArray, StringBuilder, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use bytes::Bytes;
use mixflow_core::batch::json_field;
use parquet::arrow::arrow_writer::{
    InMemoryPageStore, PageKey, PageStore, PageStoreArgs, PageStoreFactory,
};
use proptest::prelude::*;

use super::*;
use crate::made_up::context;

/// A file in memory.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().expect("no panic")
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Target for Memory {
    fn finish(self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }
}

fn tags() -> Field {
    Field::new_list("tags", Field::new_list_field(DataType::Utf8, true), true)
}

/// The parts of the column `place`, which has two leaves.
fn parts() -> Fields {
    Fields::from(vec![
        Field::new("city", DataType::Utf8, true),
        Field::new("zip", DataType::Int64, true),
    ])
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("event", DataType::Utf8, false),
        tags(),
        json_field("properties", false),
        Field::new("place", DataType::Struct(parts()), true),
        Field::new("n", DataType::Int64, true),
    ]))
}

/// Rows from `first` on, with JSON of `bytes` that compress badly.
fn rows(first: usize, count: usize, bytes: usize) -> RecordBatch {
    let n = || first as u64..(first + count) as u64;
    let noise = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let json = |n: u64| -> String {
        let words = (0..bytes as u64 / 16).map(|word| format!("{:016x}", noise(n * 64 + word)));
        format!("{{\"a\":\"{}\"}}", words.collect::<String>())
    };
    let text = |n: u64| (!n.is_multiple_of(3)).then(|| format!("city {}", n % 50));
    let mut tags = ListBuilder::new(StringBuilder::new());
    for n in n() {
        tags.append_option((n % 4 > 0).then(|| (1..n % 4).map(|tag| text(n + tag))));
    }
    let place: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter(n().map(text))),
        Arc::new(Int64Array::from_iter(
            n().map(|n| (n % 5 > 0).then_some(n as i64)),
        )),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            n().map(|n| format!("event {}", noise(n) % 9)),
        )),
        Arc::new(tags.finish()),
        Arc::new(StringArray::from_iter_values(n().map(json))),
        Arc::new(StructArray::new(parts(), place, None)),
        Arc::new(Int64Array::from_iter(
            n().map(|n| (n % 7 > 0).then_some(noise(n) as i64)),
        )),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns fit")
}

/// Batches of so many rows each.
fn batches(counts: &[usize], bytes: usize) -> Vec<RecordBatch> {
    let mut first = 0;
    let batch = |count: &usize| {
        first += count;
        rows(first - count, *count, bytes)
    };
    counts.iter().map(batch).collect()
}

fn form(compression: Compression, group_rows: usize) -> WriterProperties {
    let mut cx = context("r");
    cx.schema = schema();
    let form = properties(&cx, compression).into_builder();
    form.set_max_row_group_row_count(Some(group_rows)).build()
}

fn begin(schema: &SchemaRef, form: &WriterProperties, threads: &Arc<Encoders>) -> Writer<Memory> {
    let shown = "a.parquet".to_owned();
    let mut writer = Writer::new(Memory::default(), schema, form, shown).expect("it has a form");
    writer.encoders = threads.clone();
    writer
}

fn end(mut writer: Writer<Memory>) -> Vec<u8> {
    let memory = writer.target().clone();
    let bytes = writer.finish().expect("it can be written");
    assert_eq!(memory.bytes().len() as u64, bytes);
    memory.0.lock().expect("no panic").clone()
}

/// What a writer makes of batches.
fn ours(batches: &[RecordBatch], form: &WriterProperties, threads: &Arc<Encoders>) -> Vec<u8> {
    let schema = batches.first().map_or_else(schema, RecordBatch::schema);
    let mut writer = begin(&schema, form, threads);
    for rows in batches {
        writer.write(rows).expect("it can be written");
    }
    end(writer)
}

/// What parquet's writer makes of them.
fn theirs(batches: &[RecordBatch], form: &WriterProperties) -> Vec<u8> {
    let schema = batches.first().map_or_else(schema, RecordBatch::schema);
    let mut writer =
        ArrowWriter::try_new(Vec::new(), schema, Some(form.clone())).expect("it has a form");
    for rows in batches {
        writer.write(rows).expect("it can be written");
        if writer.memory_size() > WRITER_MEMORY {
            writer.flush().expect("it can be written");
        }
    }
    writer.into_inner().expect("it can be written")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_file_is_that_of_parquets_writer(
        counts in prop::collection::vec(prop_oneof![0..9_usize, 0..2_500_usize], 0..9),
        bytes in prop_oneof![Just(0), Just(370), Just(1_000)],
        group_rows in prop_oneof![1_000..4_000_usize, Just(ROW_GROUP_ROWS)],
        threads in 0..3_usize,
        compressed in any::<bool>(),
    ) {
        let compression = if compressed { Compression::Zstd } else { Compression::None };
        let (batches, form) = (batches(&counts, bytes), form(compression, group_rows));
        let ours = ours(&batches, &form, &Encoders::new(threads));
        prop_assert!(ours == theirs(&batches, &form));
    }
}

#[test]
fn a_file_of_one_column_is_that_of_parquets_writer() {
    for place in 0..schema().fields().len() {
        let batches = batches(&[2_000, 3, 2_000], 800);
        let one = |rows: &RecordBatch| rows.project(&[place]).expect("it is there");
        let batches: Vec<RecordBatch> = batches.iter().map(one).collect();
        let form = form(Compression::Zstd, 2_500);
        assert!(ours(&batches, &form, &Encoders::new(1)) == theirs(&batches, &form));
    }
}

#[test]
fn a_group_that_holds_too_much_ends_where_that_of_parquets_writer_does() {
    let batches = batches(&[2_000; 45], 1_000);
    let form = form(Compression::None, ROW_GROUP_ROWS);
    let ours = ours(&batches, &form, &Encoders::new(1));
    assert!(ours.len() > 2 * WRITER_MEMORY);
    assert!(ours == theirs(&batches, &form));
}

#[test]
fn what_is_held_is_no_more_than_it_says_and_exact_once_all_is_encoded() {
    let form = form(Compression::Zstd, ROW_GROUP_ROWS);
    let mut ours = begin(&schema(), &form, &Encoders::new(1));
    let mut theirs = ArrowWriter::try_new(Vec::new(), schema(), Some(form)).expect("it has a form");
    for rows in batches(&[2_000; 12], 370) {
        ours.write(&rows).expect("it can be written");
        theirs.write(&rows).expect("it can be written");
        assert!(ours.memory() >= theirs.memory_size());
    }
    ours.settle().expect("it can be encoded");
    assert_eq!(ours.memory(), theirs.memory_size());
}

#[test]
fn nothing_waits_where_nobody_is_idle() {
    let threads = Encoders::new(1);
    let (batches, form) = (batches(&[2_000; 4], 370), form(Compression::Zstd, 5_000));
    let _busy = threads.idle();
    assert!(ours(&batches, &form, &threads) == theirs(&batches, &form));
}

#[test]
fn flushing_without_rows_makes_no_row_group() {
    let form = form(Compression::Zstd, 5_000);
    let mut writer = begin(&schema(), &form, &Encoders::new(1));
    writer.flush().expect("there is nothing");
    writer.settle().expect("there is nothing");
    writer.write(&rows(0, 0, 0)).expect("there is nothing");
    writer.flush().expect("there is nothing");
    assert!(end(writer) == theirs(&[], &form));
}

/// Where pages of the third column go, `properties`: elsewhere on another thread.
struct Pages {
    store: InMemoryPageStore,
    here: thread::ThreadId,
    elsewhere: Arc<dyn Fn() -> Result<(), ParquetError> + Send + Sync>,
}

impl PageStore for Pages {
    fn put(&mut self, page: Bytes) -> Result<PageKey, ParquetError> {
        if thread::current().id() != self.here {
            (self.elsewhere)()?;
        }
        self.store.put(page)
    }

    fn take(&mut self, key: PageKey) -> Result<Bytes, ParquetError> {
        self.store.take(key)
    }
}

struct Elsewhere(Arc<dyn Fn() -> Result<(), ParquetError> + Send + Sync>);

impl std::fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Elsewhere")
    }
}

impl PageStoreFactory for Elsewhere {
    fn create(&self, _: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>, ParquetError> {
        Ok(Box::new(Pages {
            store: InMemoryPageStore::default(),
            here: thread::current().id(),
            elsewhere: self.0.clone(),
        }))
    }
}

/// A writer that does something where another thread has a page.
fn begin_with(
    threads: &Arc<Encoders>,
    elsewhere: impl Fn() -> Result<(), ParquetError> + Send + Sync + 'static,
) -> Writer<Memory> {
    let form = form(Compression::Zstd, ROW_GROUP_ROWS);
    let mut writer = begin(&schema(), &form, threads);
    let elsewhere = Arc::new(Elsewhere(Arc::new(elsewhere)));
    writer.groups = writer.groups.with_page_store_factory(elsewhere);
    writer
}

#[test]
fn no_more_rows_wait_than_may() {
    let (go, wait): (Sender<()>, Receiver<()>) = channel();
    let (mut go, wait) = (Some(go), Mutex::new(wait));
    let mut writer = begin_with(&Encoders::new(1), move || {
        let _ = wait.lock().expect("no panic").recv();
        Ok(())
    });
    writer.write(&rows(0, 2_000, 1_000)).expect("it is sent on");
    let (away, few) = (writer.memory(), rows(0, 100, 1_000));
    for _ in 0..40 {
        writer.write(&few).expect("it is sent on");
        // A MiB of rows may wait, and counts twice; the rest is of other columns.
        assert!(writer.memory() < away + 3 * (1 << 20));
        // The thread goes on just before there are too many.
        if writer.memory() > away + (1 << 20) {
            go = None;
        }
    }
    assert!(go.is_none());
}

/// Writes one batch with pages enough, and ends the file.
fn write_and_end(mut writer: Writer<Memory>) -> Error {
    writer.write(&rows(0, 2_000, 1_000)).expect("it is sent on");
    writer.finish().expect_err("rows are lost")
}

#[test]
fn an_error_of_the_other_thread_is_one_of_the_file() {
    let full = || {
        Err(ParquetError::from(io::Error::from(
            io::ErrorKind::StorageFull,
        )))
    };
    let error = write_and_end(begin_with(&Encoders::new(1), full));
    assert_eq!(error.to_string(), "cannot write `a.parquet`");
    assert_eq!(
        error.causes().last().map(String::as_str),
        Some("no storage space")
    );
}

#[test]
fn a_panic_of_the_other_thread_is_an_error_of_the_file() {
    let error = write_and_end(begin_with(&Encoders::new(1), || panic!("no room")));
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert_eq!(error.to_string(), "cannot write `a.parquet`");
    assert_eq!(
        error.causes(),
        ["the encoding of columns panicked", "no room"]
    );
}

#[test]
fn after_an_error_a_file_is_never_ended() {
    let mut writer = begin_with(&Encoders::new(1), || panic!("no room"));
    writer.write(&rows(0, 2_000, 1_000)).expect("it is sent on");
    writer.settle().expect_err("it panicked");
    writer.write(&rows(0, 1, 0)).expect_err("rows are lost");
    writer.flush().expect_err("rows are lost");
    let error = writer.finish().expect_err("rows are lost");
    assert!(error.causes()[0].contains("earlier error"));
}

#[test]
fn a_file_can_be_given_up_while_its_columns_are_away() {
    let threads = Encoders::new(1);
    let (go, wait): (Sender<()>, Receiver<()>) = channel();
    let wait = Mutex::new(wait);
    let mut writer = begin_with(&threads, move || {
        let _ = wait.lock().expect("no panic").recv();
        Ok(())
    });
    writer.write(&rows(0, 2_000, 1_000)).expect("it is sent on");
    drop(writer);
    assert!(threads.idle().is_none());
    drop(go);
    while threads.idle().is_none() {
        thread::yield_now();
    }
    let (batches, form) = (batches(&[2_000; 4], 370), form(Compression::Zstd, 5_000));
    assert!(ours(&batches, &form, &threads) == theirs(&batches, &form));
}
