//! Both sides of the boundary in one process, so that Miri can look at it:
//!
//! ```sh
//! MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test -p mixflow-sink-dynamic --test table
//! ```

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::cell::RefCell;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use mixflow_core::batch::{Batch, PartitionId};
use mixflow_core::cancel::{CancelToken, cancellation};
use mixflow_core::config::Invalid;
use mixflow_core::destination::Destination;
use mixflow_core::ledger::Earlier;
use mixflow_core::registry::OptionDoc;
use mixflow_core::sink::{
    Capabilities, CommitSummary, Outcome, PartitionInfo, Preview, RecordFormat, Residue, Sink,
    SinkTxn, TxnContext,
};
use mixflow_core::source::{DayRange, Extent, SourceInfo};
use mixflow_core::unit::DataKind;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_abi::export::{Plugin, table};
use mixflow_sink_abi::raw::{
    ArrowArray, ArrowSchema, Failure, OK, SinkPtr, Str, Table, Text, TxnPtr,
};
use mixflow_sink_dynamic::{Library, PluginSink};
use serde::Deserialize;
use serde_json::{Value, json};

thread_local! {
    /// What sinks on this thread were asked to do.
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn log(line: impl Into<String>) {
    LOG.with_borrow_mut(|log| log.push(line.into()));
}

fn taken_log() -> Vec<String> {
    LOG.take()
}

/// A sink that notes what it hears, and fails where it is told to.
struct Memory {
    options: Options,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    #[serde(default)]
    fails_at: String,
    #[serde(default)]
    panics_at: String,
    #[serde(default)]
    replaces_days: bool,
    /// Whether a write waits for the run to be stopped.
    #[serde(default)]
    waits: bool,
}

struct Exported;

impl Plugin for Exported {
    const NAME: &'static str = "memory";
    const CRATE: &'static str = "table";
    const OPTIONS: Option<&'static [OptionDoc]> = Some(&[OptionDoc::new(
        "fails_at",
        "a call, default none",
        "where it fails",
    )]);
    type Config = Options;

    fn make(options: Options) -> Result<Box<dyn Sink>, Vec<Invalid>> {
        let sink = Memory { options };
        match sink.at("open") {
            Ok(()) => Ok(Box::new(sink)),
            Err(_) => Err(vec![Invalid::new("fails_at", "so it was said")]),
        }
    }
}

static TABLE: Table = table::<Exported>();

impl Memory {
    fn at(&self, call: &str) -> Result<()> {
        assert_ne!(self.options.panics_at, call, "no luck");
        if self.options.fails_at == call {
            Err(Error::new(ErrorKind::Network, "cannot reach it")
                .because("no route\nto the host")
                .hint("plug it in"))
        } else {
            Ok(())
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        log("close");
    }
}

impl Sink for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: true,
            replaces_days: self.options.replaces_days,
            records: RecordFormat::Raw,
        }
    }

    fn destination(&self, _: &DataKind) -> Destination {
        Destination::named("memory").with_table("rows")
    }

    fn earlier(&self) -> Earlier {
        Earlier::Go
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        let metadata = schema.field(1).metadata();
        log(format!(
            "check_schema {:?}",
            metadata.get("ARROW:extension:name")
        ));
        self.at("check_schema")
    }

    fn preview(&self, cx: &TxnContext) -> Result<Preview> {
        self.at("preview")?;
        Ok(Preview {
            actions: vec![format!("keeps {}", cx.source.title)],
        })
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        self.at("begin")?;
        log(format!("begin {} {:?}", cx.run_id, cx.source.from_date));
        Ok(Box::new(MemoryTxn {
            sink: self,
            cancel: cx.cancel.clone(),
            rows: Vec::new(),
        }))
    }
}

struct MemoryTxn<'s> {
    sink: &'s Memory,
    cancel: CancelToken,
    rows: Vec<RecordBatch>,
}

impl SinkTxn for MemoryTxn<'_> {
    fn partition(&mut self, info: &PartitionInfo) -> Result<()> {
        self.sink.at("partition")?;
        log(format!("partition {info:?}"));
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.sink.at("write")?;
        if self.sink.options.waits {
            self.cancel.wait(Duration::from_secs(3_600))?;
        }
        let numbers = batch.records.column(0).as_primitive::<Int64Type>();
        let texts = batch.records.column(1).as_string::<i32>();
        log(format!(
            "write {:?} {:?}",
            &numbers.values()[..],
            texts.iter().collect::<Vec<_>>()
        ));
        self.rows.push(batch.records.clone());
        Ok(())
    }

    fn commit(self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        self.sink.at("commit")?;
        log(format!("commit {outcome:?}"));
        Ok(CommitSummary {
            rows: self.rows.iter().map(|rows| rows.num_rows() as u64).sum(),
            destination: "memory".to_owned(),
            warnings: vec!["it forgets".to_owned()],
        })
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        self.sink.at("abort")?;
        Ok(Residue::Rows(7))
    }
}

impl Drop for MemoryTxn<'_> {
    fn drop(&mut self) {
        log("drop");
        if !std::thread::panicking() {
            let _ = self.sink.at("drop");
        }
    }
}

fn open(options: Value) -> Result<PluginSink, Vec<Invalid>> {
    // SAFETY: `table` makes tables that keep the rules.
    let library = unsafe { Library::from_table(&raw const TABLE) }.unwrap();
    PluginSink::open(library, &options)
}

fn schema() -> Arc<Schema> {
    let number = Field::new("n", DataType::Int64, false);
    let json = mixflow_core::batch::json_field("j", true);
    Arc::new(Schema::new(vec![number, json]))
}

fn batch(numbers: &[i64]) -> Batch {
    let texts = numbers
        .iter()
        .map(|n| (n % 2 == 0).then(|| format!("[{n}]")));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(numbers.to_vec())),
        Arc::new(texts.collect::<StringArray>()),
    ];
    Batch {
        records: RecordBatch::try_new(schema(), columns).unwrap(),
        partition: PartitionId(3),
    }
}

fn context() -> TxnContext {
    TxnContext {
        run_id: "run-1".to_owned(),
        schema: schema(),
        source: SourceInfo {
            title: "\"rows\"".to_owned(),
            from_date: Some("2024-02-29".parse().unwrap()),
            ..SourceInfo::default()
        },
        started_at: jiff::Timestamp::UNIX_EPOCH,
        cancel: CancelToken::never(),
    }
}

fn info() -> PartitionInfo {
    PartitionInfo {
        id: PartitionId(3),
        label: "a day".to_owned(),
        extent: Extent::Days(DayRange {
            first: "2024-02-29".parse().unwrap(),
            last: "2024-02-29".parse().unwrap(),
            start_us: 1,
            end_us: 2,
        }),
    }
}

#[test]
fn a_library_says_what_it_takes() {
    // SAFETY: `table` makes tables that keep the rules.
    let library = unsafe { Library::from_table(&raw const TABLE) }.unwrap();
    assert_eq!(library.version(), (1, 2));
    assert!(library.has_modes());
    let options = library.options().unwrap();
    let names: Vec<&str> = options.iter().map(|option| option.name.as_str()).collect();
    assert_eq!(names, ["fails_at"]);
    assert_eq!(options[0].about, "where it fails");
    let old = Table {
        options: None,
        ..table::<Exported>()
    };
    // SAFETY: as above; it is looked at only here.
    let library = unsafe { Library::from_table(&raw const old) }.unwrap();
    assert_eq!(library.options(), None);
}

#[test]
fn a_sink_that_waits_hears_that_the_run_is_to_stop() {
    let (guard, cancel) = cancellation();
    let cx = TxnContext {
        cancel,
        ..context()
    };
    let sink = open(json!({"waits": true})).unwrap();
    let mut txn = sink.begin(&cx).unwrap();
    txn.partition(&info()).unwrap();
    let asked = Instant::now();
    let error = std::thread::scope(|scope| {
        scope.spawn(move || drop(guard));
        txn.write(&batch(&[1])).unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    // An hour is what it would wait.
    assert!(asked.elapsed() < Duration::from_secs(60));
    drop(txn);
    // The next transaction has a token of its own, which nobody cancels.
    let sink = open(json!({})).unwrap();
    let mut txn = sink.begin(&context()).unwrap();
    txn.partition(&info()).unwrap();
    txn.write(&batch(&[1])).unwrap();
    txn.abort().unwrap();
    taken_log();
}

#[test]
fn everything_crosses_both_ways() {
    let sink = open(json!({"replaces_days": true})).unwrap();
    let destination = sink.destination(&DataKind::Events);
    assert_eq!(destination, Destination::named("memory").with_table("rows"));
    let expected = Capabilities {
        transactional: true,
        replaces_days: true,
        records: RecordFormat::Raw,
    };
    assert_eq!(sink.capabilities(), expected);
    assert_eq!(sink.earlier(), Earlier::Go);
    sink.check_schema(&schema()).unwrap();
    assert_eq!(
        sink.preview(&context()).unwrap().actions,
        ["keeps \"rows\""]
    );
    let mut txn = sink.begin(&context()).unwrap();
    txn.partition(&info()).unwrap();
    txn.write(&batch(&[1, 2])).unwrap();
    // A slice: the array has an offset.
    let mut slice = batch(&[0, 1, 2, 3, 4]);
    slice.records = slice.records.slice(2, 2);
    txn.write(&slice).unwrap();
    let missing = [(info(), "gone".to_owned())];
    let outcome = Outcome {
        missing: &missing,
        rows: 4,
        units: &[],
    };
    let summary = txn.commit(&outcome).unwrap();
    assert_eq!(
        (summary.rows, summary.warnings),
        (4, vec!["it forgets".to_owned()])
    );
    drop(sink);
    let log = taken_log();
    let expected = [
        "check_schema Some(\"arrow.json\")".to_owned(),
        "begin run-1 Some(2024-02-29)".to_owned(),
        format!("partition {:?}", info()),
        "write [1, 2] [None, Some(\"[2]\")]".to_owned(),
        "write [2, 3] [Some(\"[2]\"), None]".to_owned(),
        format!("commit {outcome:?}"),
        "drop".to_owned(),
        "close".to_owned(),
    ];
    assert_eq!(log, expected);
}

#[test]
fn abort_and_drop_end_a_transaction_once() {
    let sink = open(json!({})).unwrap();
    assert_eq!(
        sink.begin(&context()).unwrap().abort().unwrap(),
        Residue::Rows(7)
    );
    drop(sink.begin(&context()).unwrap());
    drop(sink);
    let ends = taken_log();
    let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
    let begin = "begin run-1 Some(2024-02-29)";
    assert_eq!(ends, [begin, "drop", begin, "drop", "close"]);
}

/// The calls of [`go`] behind `open`.
const CALLS: [&str; 6] = [
    "check_schema",
    "preview",
    "begin",
    "partition",
    "write",
    "commit",
];

/// Calls everything in order until something fails.
fn go(options: Value) -> Result<()> {
    let sink = open(options).map_err(|wrong| {
        Error::new(
            ErrorKind::Config,
            format!("{}: {}", wrong[0].key, wrong[0].message),
        )
    })?;
    sink.check_schema(&schema())?;
    sink.preview(&context())?;
    let mut txn = sink.begin(&context())?;
    txn.partition(&info())?;
    txn.write(&batch(&[1]))?;
    if LOG.with_borrow(|log| log.iter().any(|line| line == "abort")) {
        return txn.abort().map(drop);
    }
    txn.commit(&Outcome {
        missing: &[],
        rows: 1,
        units: &[],
    })
    .map(drop)
}

#[test]
fn an_error_keeps_its_kind_its_causes_and_its_hint_and_names_the_sink() {
    for call in CALLS {
        let error = go(json!({ "fails_at": call })).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{call}");
        assert!(
            error.message().starts_with("the sink `memory` of"),
            "{error}"
        );
        // A line end would be taken for a further cause.
        assert_eq!(
            error.causes(),
            ["cannot reach it", "no route to the host"],
            "{call}"
        );
        assert_eq!(error.hint_text(), Some("plug it in"), "{call}");
    }
    let error = go(json!({"fails_at": "open"})).unwrap_err();
    assert_eq!(error.message(), "options.fails_at: so it was said");
}

#[test]
fn a_panic_is_an_error_of_its_call() {
    for call in CALLS {
        let error = go(json!({ "panics_at": call })).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panic, "{call}");
        let causes = error.causes();
        assert_eq!(causes[0], format!("`{call}` panicked"));
        assert!(causes[1].contains("no luck"), "{causes:?}");
    }
    // Nobody is told of this one, and nothing else happens.
    let sink = open(json!({"panics_at": "drop"})).unwrap();
    drop(sink.begin(&context()).unwrap());
    drop(sink);
    log("abort");
    let error = go(json!({"panics_at": "abort"})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    let error = go(json!({"panics_at": "open"})).unwrap_err();
    assert!(error.message().contains("`open` panicked: "), "{error}");
}

#[test]
fn options_that_are_wrong_are_named() {
    let wrong = open(json!({"fials_at": "x", "panics_at": 3})).unwrap_err();
    let mut keys: Vec<&str> = wrong.iter().map(|wrong| wrong.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["options.fials_at", "options.panics_at"]);
}

/// A transaction that was begun by hand, for calls that no host makes.
struct ByHand {
    sink: SinkPtr,
    txn: TxnPtr,
}

impl ByHand {
    fn begin() -> ByHand {
        let (mut sink, mut txn) = (ptr::null_mut(), ptr::null_mut());
        let mut failure = Failure::empty();
        let schema = FFI_ArrowSchema::try_from(&*schema()).unwrap();
        let cx = r#"{"run_id":"r","started_at":"1970-01-01T00:00:00Z","data_type":"","title":"","from_date":null,"to_date":null}"#;
        // SAFETY: everything is lent for the calls, and has a place.
        unsafe {
            let open = TABLE.open.unwrap();
            assert_eq!(
                open(ptr::null(), Str::of("{}"), &raw mut sink, &raw mut failure),
                OK
            );
            let begin = TABLE.begin.unwrap();
            let schema = ptr::from_ref(&schema).cast::<ArrowSchema>();
            let code = begin(sink, Str::of(cx), schema, &raw mut txn, &raw mut failure);
            assert_eq!(code, OK);
            let partition = TABLE.partition.unwrap();
            let info = Str::of(r#"{"id":3,"label":"a day","later":"unknown"}"#);
            assert_eq!(partition(txn, info, &raw mut failure), OK);
        }
        ByHand { sink, txn }
    }

    fn write(&self, array: *mut ArrowArray) -> Result<(), String> {
        let mut failure = Failure::empty();
        // SAFETY: the transaction goes on; the array is given away.
        unsafe {
            match TABLE.write.unwrap()(self.txn, 3, array, &raw mut failure) {
                OK => Ok(()),
                _ => {
                    failure.hint.take();
                    Err(failure.message.take())
                }
            }
        }
    }
}

impl ByHand {
    fn commit(mut self) -> Result<(), String> {
        let (mut text, mut failure) = (Text::empty(), Failure::empty());
        let txn = std::mem::replace(&mut self.txn, ptr::null_mut());
        let outcome = Str::of(r#"{"rows":1}"#);
        // SAFETY: the transaction is given up.
        unsafe {
            match TABLE.commit.unwrap()(txn, outcome, &raw mut text, &raw mut failure) {
                OK => Ok(()),
                _ => Err(failure.message.take()),
            }
        }
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        // SAFETY: both are given up.
        unsafe {
            TABLE.discard.unwrap()(self.txn);
            TABLE.close.unwrap()(self.sink);
        }
    }
}

fn exported(records: RecordBatch) -> FFI_ArrowArray {
    use arrow::array::Array as _;
    FFI_ArrowArray::new(&StructArray::from(records).to_data())
}

#[test]
fn a_batch_of_another_schema_is_found_out_before_it_is_read() {
    let one = |name: &str, column: ArrayRef| RecordBatch::try_from_iter([(name, column)]).unwrap();
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let lies = [
        // A child too few.
        one("n", Arc::clone(&number)),
        // A text where a number should be, and the other way round: the
        // numbers of buffers differ.
        RecordBatch::try_from_iter([("n", Arc::clone(&text)), ("j", Arc::clone(&text))]).unwrap(),
        RecordBatch::try_from_iter([("n", Arc::clone(&number)), ("j", number)]).unwrap(),
    ];
    for lie in lies {
        let by_hand = ByHand::begin();
        let mut array = exported(lie);
        let said = by_hand.write(ptr::from_mut(&mut array).cast()).unwrap_err();
        assert!(
            said.contains("is not of the schema that the transaction began with"),
            "{said}"
        );
        assert!(array.is_released(), "it was given away");
        let mut array = exported(batch(&[1]).records);
        let said = by_hand.write(ptr::from_mut(&mut array).cast()).unwrap_err();
        assert!(said.contains("an earlier call failed"), "{said}");
        let said = by_hand.commit().unwrap_err();
        assert!(said.contains("an earlier call failed"), "{said}");
    }
}

#[test]
fn lengths_that_cannot_be_are_found_out() {
    type Lie = fn(&mut ArrowArray);
    let lies: [(&str, Lie); 7] = [
        ("longer than its children", |array| array.length = 1_000),
        ("negative", |array| array.length = -1),
        ("beyond every number", |array| array.offset = i64::MAX),
        ("no children", |array| array.n_children = 0),
        ("children nowhere", |array| array.children = ptr::null_mut()),
        ("too many buffers", |array| array.n_buffers = 9),
        ("fewer than none", |array| array.n_children = -1),
    ];
    for (what, lie) in lies {
        let by_hand = ByHand::begin();
        let mut array = exported(batch(&[1, 2]).records);
        let raw = ptr::from_mut(&mut array).cast::<ArrowArray>();
        // SAFETY: it is an array of ours. Arrow releases what it has noted
        // elsewhere, so a lie in these fields does no harm to that.
        unsafe { lie(&mut *raw) };
        let said = by_hand.write(raw).unwrap_err();
        assert!(said.contains("is not of the schema"), "{what}: {said}");
    }
}

#[test]
fn calls_about_nothing_are_errors() {
    let mut failure = Failure::empty();
    // SAFETY: null is what these are asked about.
    unsafe {
        let nothing = ptr::null_mut();
        assert_ne!(
            TABLE.write.unwrap()(nothing, 0, ptr::null_mut(), &raw mut failure),
            OK
        );
        assert!(failure.message.take().contains("without what it is about"));
        assert_ne!(
            TABLE.abort.unwrap()(nothing, ptr::null_mut(), ptr::null_mut()),
            OK
        );
        TABLE.discard.unwrap()(nothing);
        TABLE.close.unwrap()(nothing);
    }
    let by_hand = ByHand::begin();
    assert!(by_hand.write(ptr::null_mut()).is_err());
}
