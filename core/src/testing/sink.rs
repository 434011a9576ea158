//! Sinks that keep a log, and go wrong where they are told to.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::{Field, Schema};

use super::Gate;
use super::source::{Row, rows_of};
use crate::batch::{Batch, PartitionId};
use crate::destination::Destination;
use crate::error::{Error, ErrorKind, Result};
use crate::made_of::Existing;
use crate::sink::{
    Capabilities, CommitSummary, Exclusive, Outcome, PartitionInfo, Preview, RecordFormat, Residue,
    Sink, SinkTxn, TxnContext,
};
use crate::unit::DataKind;
use crate::whole_file::{FileForm, FilePlace, FileWriter, WholeFile};

/// What a [`TestSink`] was asked to do, and what is visible of it now.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Calls of [`Sink::preview`].
    pub previewed: u32,
    /// Transactions that began.
    pub begun: u32,
    /// Transactions that committed.
    pub committed: u32,
    /// Transactions that were aborted by [`SinkTxn::abort`].
    pub aborted: u32,
    /// Transactions that ended otherwise: dropped, or their commit failed.
    pub dropped: u32,
    /// The columns of the last transaction, in order.
    pub columns: Vec<String>,
    /// The partitions that were announced, in order.
    pub announced: Vec<PartitionInfo>,
    /// The rows that the last transaction wrote, in order.
    pub written: Vec<Row>,
    /// The partitions whose files the last transaction took, in order.
    pub taken: Vec<i64>,
    /// The rows that a reader of the destination sees.
    pub visible: Vec<Row>,
    /// The labels of the partitions that the commit named as missing.
    pub missing: Vec<String>,
    /// Breaches of what [`SinkTxn`] promises its implementors.
    pub breaches: Vec<String>,
}

impl Log {
    /// Returns how often a transaction ended.
    pub fn ended(&self) -> u32 {
        self.committed + self.aborted + self.dropped
    }

    /// Returns the rows of one partition that were written, in order.
    pub fn written_of(&self, partition: i64) -> Vec<Row> {
        let of = |row: &&Row| row.0 == partition;
        self.written.iter().filter(of).copied().collect()
    }
}

/// A call of a [`TestSink`] or its transaction. Writes count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// [`Sink::preview`].
    Preview,
    /// [`Sink::begin`].
    Begin,
    /// [`SinkTxn::partition`], the first one.
    Partition,
    /// [`SinkTxn::write`], the n-th one.
    Write(usize),
    /// [`SinkTxn::take`].
    Take,
    /// [`SinkTxn::commit`].
    Commit,
    /// [`SinkTxn::abort`].
    Abort,
}

#[derive(Clone, Debug)]
enum Fault {
    Fails,
    InDoubt,
    Panics,
    Closed,
    Loses,
    Blocks(Gate),
}

/// A sink that keeps a [`Log`].
#[derive(Clone, Debug)]
pub struct TestSink {
    faults: Vec<(At, Fault)>,
    capabilities: Capabilities,
    exclusive: Option<Exclusive>,
    existing: Existing,
    /// The partitions whose files it takes; `None` if it has no form of files.
    files: Option<Vec<i64>>,
    name: String,
    log: Arc<Mutex<Log>>,
}

impl TestSink {
    /// Creates a transactional sink with which nothing goes wrong.
    pub fn recording() -> TestSink {
        TestSink {
            faults: Vec::new(),
            capabilities: Capabilities {
                transactional: true,
                replaces_days: false,
                records: RecordFormat::Normalized,
            },
            exclusive: None,
            existing: Existing::default(),
            files: None,
            name: "test log".to_owned(),
            log: Arc::default(),
        }
    }

    /// Creates a sink whose n-th write fails.
    pub fn failing_write(n: usize) -> TestSink {
        TestSink::recording().failing(At::Write(n))
    }

    /// Creates a sink whose n-th write panics.
    pub fn panicking_write(n: usize) -> TestSink {
        TestSink::recording().panicking(At::Write(n))
    }

    /// Creates a sink whose commit fails.
    pub fn failing_commit() -> TestSink {
        TestSink::recording().failing(At::Commit)
    }

    /// Creates a sink, not transactional, whose reader goes away after `n` batches.
    pub fn closed(n: usize) -> TestSink {
        TestSink::recording()
            .transactional(false)
            .closing(At::Write(n))
    }

    /// Creates a sink whose first write blocks until `gate` is opened.
    pub fn blocked(gate: &Gate) -> TestSink {
        TestSink::recording().blocking(At::Write(0), gate)
    }

    /// Makes the sink promise, and keep, that nothing is visible before commit,
    /// or not.
    pub fn transactional(mut self, transactional: bool) -> TestSink {
        self.capabilities.transactional = transactional;
        self
    }

    /// Gives the destination another name than `test log`.
    pub fn called(mut self, name: &str) -> TestSink {
        name.clone_into(&mut self.name);
        self
    }

    /// Makes the sink one that replaces days.
    pub fn replacing_days(mut self) -> TestSink {
        self.capabilities.replaces_days = true;
        self
    }

    /// Makes the sink one that shuts others out while a transaction is open, and
    /// takes so many bytes a second.
    pub fn exclusive(mut self, bytes_per_second: u64) -> TestSink {
        self.exclusive = Some(Exclusive {
            bytes_per_second,
            folder: std::env::temp_dir(),
        });
        self
    }

    /// Makes the sink one that takes the files of these partitions.
    pub fn taking_files(mut self, of: impl IntoIterator<Item = i64>) -> TestSink {
        self.files = Some(of.into_iter().collect());
        self
    }

    /// Makes the sink one that wants raw records.
    pub fn raw(mut self) -> TestSink {
        self.capabilities.records = RecordFormat::Raw;
        self
    }

    /// Makes a call fail.
    pub fn failing(self, at: At) -> TestSink {
        self.with(at, Fault::Fails)
    }

    /// Makes a call fail without knowing whether it was done.
    pub fn in_doubt(self, at: At) -> TestSink {
        self.with(at, Fault::InDoubt)
    }

    /// Makes a call panic.
    pub fn panicking(self, at: At) -> TestSink {
        self.with(at, Fault::Panics)
    }

    /// Makes a call say that the reader went away.
    pub fn closing(self, at: At) -> TestSink {
        self.with(at, Fault::Closed)
    }

    /// Makes the commit speak of one row less than were written.
    pub fn losing_a_row(self) -> TestSink {
        self.with(At::Commit, Fault::Loses)
    }

    /// Makes a call block until `gate` is opened, whatever else happens.
    pub fn blocking(self, at: At, gate: &Gate) -> TestSink {
        self.with(at, Fault::Blocks(gate.clone()))
    }

    /// Returns the log, which goes on while the sink is used.
    pub fn log(&self) -> Arc<Mutex<Log>> {
        Arc::clone(&self.log)
    }

    /// Makes the destination have these columns.
    pub fn with_columns(mut self, columns: impl IntoIterator<Item = Field>) -> TestSink {
        self.existing.columns.extend(columns);
        self
    }

    fn with(mut self, at: At, fault: Fault) -> TestSink {
        self.faults.push((at, fault));
        self
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is to go wrong at a call. Holds no lock meanwhile.
    fn go_wrong(&self, at: At) -> Result<()> {
        for (place, fault) in &self.faults {
            if *place != at {
                continue;
            }
            match fault {
                Fault::Fails => {
                    return Err(Error::new(ErrorKind::Io, format!("no luck at {at:?}"))
                        .because("disk full"));
                }
                Fault::InDoubt => {
                    let error = Error::new(ErrorKind::Network, "no answer").in_doubt();
                    return Err(error.context(format!("no luck at {at:?}")));
                }
                Fault::Panics => panic!("no luck at {at:?}"),
                Fault::Closed => return Err(Error::new(ErrorKind::Closed, "broken pipe")),
                Fault::Loses => {}
                Fault::Blocks(gate) => gate.pass_deaf(),
            }
        }
        Ok(())
    }
}

impl Sink for TestSink {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn destination(&self, _kind: &DataKind) -> Destination {
        Destination::named(&self.name)
    }

    fn check_schema(&self, _schema: &Schema) -> Result<()> {
        Ok(())
    }

    fn existing(&self, _cx: &TxnContext) -> Result<Existing> {
        Ok(self.existing.clone())
    }

    fn preview(&self, _cx: &TxnContext) -> Result<Preview> {
        self.lock().previewed += 1;
        self.go_wrong(At::Preview)?;
        Ok(Preview::default())
    }

    fn file_form(&self, _: &TxnContext, _: &FilePlace) -> Result<Option<Box<dyn FileForm>>> {
        let form = self.files.as_ref().map(|_| Box::new(NoForm) as _);
        Ok(form)
    }

    fn exclusive(&self) -> Option<Exclusive> {
        self.exclusive.clone()
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        self.go_wrong(At::Begin)?;
        let mut log = self.lock();
        log.begun += 1;
        log.written.clear();
        log.taken.clear();
        let columns = cx.schema.fields().iter();
        log.columns = columns.map(|field| field.name().clone()).collect();
        drop(log);
        Ok(Box::new(TestTxn {
            sink: self,
            announced: Vec::new(),
            batches: 0,
            failed: false,
            ended: false,
        }))
    }
}

/// The form of files that nobody writes.
struct NoForm;

impl FileForm for NoForm {
    fn begin(&self, _target: Box<dyn Write + Send>) -> Result<Box<dyn FileWriter>> {
        Err(Error::new(ErrorKind::Other, "nobody writes files here"))
    }
}

struct TestTxn<'s> {
    sink: &'s TestSink,
    announced: Vec<PartitionId>,
    batches: usize,
    failed: bool,
    ended: bool,
}

impl TestTxn<'_> {
    /// Notes a call that must not come, by the contract of [`SinkTxn`].
    fn expect(&self, holds: bool, breach: &str) {
        if !holds {
            self.sink.lock().breaches.push(breach.to_owned());
        }
    }

    fn go_wrong(&mut self, at: At) -> Result<()> {
        self.expect(!self.failed, &format!("{at:?} after an error"));
        // Set first, for panics; unset when nothing went wrong.
        self.failed = true;
        self.sink.go_wrong(at)?;
        self.failed = false;
        Ok(())
    }
}

impl SinkTxn for TestTxn<'_> {
    fn partition(&mut self, info: &PartitionInfo) -> Result<()> {
        let twice = self.announced.contains(&info.id);
        self.expect(!twice, &format!("{} was announced twice", info.label));
        if self.announced.is_empty() {
            self.go_wrong(At::Partition)?;
        }
        self.announced.push(info.id);
        self.sink.lock().announced.push(info.clone());
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        let announced = self.announced.contains(&batch.partition);
        self.expect(announced, "a batch before its partition");
        let at = At::Write(self.batches);
        self.batches += 1;
        self.go_wrong(at)?;
        let rows = rows_of(&batch.records);
        let mut log = self.sink.lock();
        log.written.extend_from_slice(&rows);
        if !self.sink.capabilities.transactional {
            log.visible.extend(rows);
        }
        Ok(())
    }

    fn takes(&self, _info: &PartitionInfo, file: &WholeFile) -> bool {
        let files = self.sink.files.iter().flatten();
        files.copied().any(|n| file.notes == n)
    }

    fn take(&mut self, partition: PartitionId, file: &WholeFile) -> Result<()> {
        let announced = self.announced.contains(&partition);
        self.expect(announced, "a file before its partition");
        self.go_wrong(At::Take)?;
        let n = file.notes.as_i64().unwrap_or(-1);
        let mut log = self.sink.lock();
        log.taken.push(n);
        log.written
            .extend((0..file.rows as i64).map(|row| (n, row)));
        Ok(())
    }

    fn commit(mut self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        self.go_wrong(At::Commit)?;
        self.ended = true;
        let mut faults = self.sink.faults.iter();
        let lost = u64::from(faults.any(|(_, fault)| matches!(fault, Fault::Loses)));
        let mut log = self.sink.lock();
        log.committed += 1;
        log.missing = outcome
            .missing
            .iter()
            .map(|(info, _)| info.label.clone())
            .collect();
        if outcome.rows != log.written.len() as u64 {
            let breach = format!("commit was told of {} rows", outcome.rows);
            log.breaches.push(breach);
        }
        log.visible = log.written.clone();
        Ok(CommitSummary {
            rows: log.written.len() as u64 - lost,
            destination: self.sink.name.clone(),
            warnings: Vec::new(),
        })
    }

    fn abort(mut self: Box<Self>) -> Result<Residue> {
        self.sink.go_wrong(At::Abort)?;
        self.ended = true;
        let mut log = self.sink.lock();
        log.aborted += 1;
        Ok(match log.visible.len() {
            0 => Residue::None,
            rows => Residue::Rows(rows as u64),
        })
    }
}

impl Drop for TestTxn<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.sink.lock().dropped += 1;
        }
    }
}
