//! The transaction of a sink: begun late, ended once.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;

use super::backlog::{Backlog, Step};
use super::books::Books;
use super::ending::{Ending, contained, is_closed};
use super::sinks::NamedSink;
use crate::batch::{Batch, PartitionId};
use crate::destination::Destination;
use crate::error::{Error, ErrorKind, Result};
use crate::guard::Guarded;
use crate::ledger::{Earlier, FetchedUnit, Ledger};
use crate::made_of::Existing;
use crate::sink::{
    CommitSummary, Outcome, PartitionInfo, Preview, Residue, Sink, SinkTxn, TxnContext, patiently,
};
use crate::source::Unit;
use crate::unit::Dataset;
use crate::whole_file::{FilePlace, WholeFile};

/// Writes the rows of one attempt to a sink. Dropping it aborts.
pub(super) struct Writer<'r> {
    named: &'r NamedSink,
    sink: &'r dyn Sink,
    cx: TxnContext,
    /// The partitions that it is given; `None` is all of them.
    wanted: Option<BTreeSet<PartitionId>>,
    /// What keeps others from the destination before the transaction has begun.
    reserved: Option<Box<dyn Any>>,
    /// Rows that were written.
    rows: u64,
    /// How long to wait for a destination that somebody else has when the first
    /// rows are there.
    patience: Duration,
    /// Since when rows are asked for.
    reads_since: Instant,
    /// Begun when the first rows are there, so that a run whose credentials
    /// are wrong has not so much as created a file.
    txn: Option<Box<Guarded<'r>>>,
    /// What waits for the transaction, if that would shut others out.
    backlog: Option<Backlog>,
    /// Whether the sink takes files from where they are offered; unknown before the
    /// first one is.
    takes_files: Option<bool>,
    announced: BTreeSet<PartitionId>,
    /// How far the sink is to be trusted when the run ends badly.
    state: SinkState,
    commit_tried: bool,
}

/// What has come of the units of a run.
pub(super) struct Outcomes<'a> {
    /// Those that could not be had, with the reason.
    pub(super) missing: Cow<'a, [(PartitionInfo, String)]>,
    /// Those that were read whole.
    pub(super) units: Cow<'a, [FetchedUnit]>,
}

impl Outcomes<'_> {
    /// Returns whether units could not be had, and no other was read.
    pub(super) fn lacks_everything(&self) -> bool {
        self.units.is_empty() && !self.missing.is_empty()
    }
}

/// What the sink has last done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SinkState {
    /// Everything that it was asked to.
    Sound,
    /// It returned an error.
    Failed,
    /// It panicked, so nothing but a drop may follow.
    Panicked,
}

impl<'r> Writer<'r> {
    pub(super) fn new(named: &'r NamedSink, cx: TxnContext, patience: Duration) -> Writer<'r> {
        Writer {
            named,
            sink: &*named.sink,
            cx,
            wanted: None,
            reserved: None,
            rows: 0,
            patience,
            reads_since: Instant::now(),
            txn: None,
            backlog: None,
            takes_files: None,
            announced: BTreeSet::new(),
            state: SinkState::Sound,
            commit_tried: false,
        }
    }

    /// Tells since when rows are asked for.
    pub(super) fn reads_since(&mut self, when: Instant) {
        self.reads_since = when;
    }

    pub(super) fn is_transactional(&self) -> bool {
        self.sink.capabilities().transactional
    }

    /// Looks at the destination before the first request.
    pub(super) fn preview(&self, patience: Duration, books: &mut Books<'_>) -> Result<Preview> {
        self.patiently(patience, books, |sink, cx| sink.preview(cx))
    }

    /// Takes the destination before the first request, to the end of the attempt.
    pub(super) fn reserve(&mut self, patience: Duration, books: &mut Books<'_>) -> Result<()> {
        self.reserved = self.patiently(patience, books, |sink, cx| sink.reserve(cx))?;
        Ok(())
    }

    /// Returns the columns that the destination has.
    pub(super) fn existing(&self, patience: Duration, books: &mut Books<'_>) -> Result<Existing> {
        self.patiently(patience, books, |sink, cx| sink.existing(cx))
    }

    /// Has the rows come in these columns. Nothing was announced yet.
    pub(super) fn set_schema(&mut self, schema: &SchemaRef) -> Result<()> {
        self.cx.schema = Arc::clone(schema);
        let sink = self.sink;
        let checked = contained("the sink", || sink.check_schema(schema));
        self.judged(checked)
    }

    pub(super) fn destination(&self) -> Destination {
        self.sink.destination(&self.dataset().kind)
    }

    pub(super) fn dataset(&self) -> &Dataset {
        &self.cx.source.dataset
    }

    pub(super) fn earlier(&self) -> Earlier {
        self.sink.earlier()
    }

    /// Narrows what the sink is told of the source to the days of `units`, and
    /// what it is given to those of its own among them.
    pub(super) fn narrow(&mut self, units: &[Unit]) {
        let Some(own) = &self.named.units else {
            self.cx.source.narrow(units);
            return;
        };
        let units = units.iter().zip(0..);
        let units = units.filter(|(unit, _)| own.contains(&unit.key));
        let (units, ids): (Vec<&Unit>, BTreeSet<PartitionId>) =
            units.map(|(unit, n)| (unit, PartitionId(n))).unzip();
        self.cx.source.narrow(units);
        self.wanted = Some(ids);
    }

    fn wants(&self, id: PartitionId) -> bool {
        self.wanted.as_ref().is_none_or(|ids| ids.contains(&id))
    }

    /// Returns what of `all` concerns this sink.
    pub(super) fn share_of<'o>(&self, all: &'o Outcomes<'_>) -> Outcomes<'o> {
        if self.wanted.is_none() {
            return Outcomes {
                missing: Cow::Borrowed(&all.missing),
                units: Cow::Borrowed(&all.units),
            };
        }
        let missing = all.missing.iter().filter(|(info, _)| self.wants(info.id));
        let units = all.units.iter().filter(|unit| self.wants(unit.id));
        Outcomes {
            missing: missing.cloned().collect(),
            units: units.cloned().collect(),
        }
    }

    /// Returns what the destination holds, if the sink keeps a ledger.
    pub(super) fn ledger(
        &self,
        patience: Duration,
        books: &mut Books<'_>,
    ) -> Result<Option<Ledger>> {
        self.patiently(patience, books, |sink, cx| sink.ledger(&cx.source.dataset))
    }

    /// Begins the transaction, unless it has begun, and gives it what waits.
    pub(super) fn begin(&mut self, books: &mut Books<'_>) -> Result<()> {
        if self.txn.is_some() {
            return Ok(());
        }
        let begun = self.patiently(self.patience, books, |sink, cx| sink.begin(cx));
        let txn = self.judged(begun)?;
        // The one guard: a sink need not look after its callers.
        self.txn = Some(Box::new(Guarded::new(&self.cx, txn)));
        let Some(backlog) = self.backlog.take() else {
            return Ok(());
        };
        for step in backlog.replay()? {
            self.cx.cancel.check()?;
            match step? {
                Step::Announce(info) => self.pass_on(|txn| txn.partition(&info))?,
                Step::Write(batch) => self.give(&batch, books)?,
            }
            books.waited_for(false);
        }
        Ok(())
    }

    /// Begins the transaction, or lets what comes wait for it.
    fn open(&mut self, books: &mut Books<'_>) -> Result<()> {
        if self.txn.is_some() || self.backlog.is_some() {
            return Ok(());
        }
        let sink = self.sink;
        let exclusive = contained("the sink", || Ok(sink.exclusive()));
        let exclusive = self.judged(exclusive)?;
        self.backlog = exclusive.and_then(|exclusive| Backlog::begin(exclusive, &self.cx.schema));
        if self.backlog.is_some() {
            return Ok(());
        }
        self.begin(books)
    }

    /// Announces a partition, once; begins the transaction if need be.
    pub(super) fn announce(&mut self, info: &PartitionInfo, books: &mut Books<'_>) -> Result<()> {
        if !self.wants(info.id) {
            return Ok(());
        }
        self.open(books)?;
        if !self.announced.insert(info.id) {
            return Ok(());
        }
        if let Some(backlog) = &mut self.backlog {
            backlog.announce(info);
            return Ok(());
        }
        self.pass_on(|txn| txn.partition(info))
    }

    /// Writes a batch of a partition that was announced, now or when the
    /// transaction begins.
    pub(super) fn write(&mut self, batch: &Batch, books: &mut Books<'_>) -> Result<()> {
        if !self.wants(batch.partition) {
            return Ok(());
        }
        match &mut self.backlog {
            Some(backlog) if backlog.fits(batch) => {
                let started = Instant::now();
                backlog.push(batch)?;
                books.slot(batch.partition).write += started.elapsed();
                self.rows += batch.records.num_rows() as u64;
                if backlog.may_wait(self.reads_since.elapsed()) {
                    return Ok(());
                }
                let bytes = backlog.bytes();
                log::debug!("rows come too fast to wait, {bytes} bytes so far; they are written");
                return self.begin(books);
            }
            // It is refused as it would be without.
            Some(_) => self.begin(books)?,
            None => {}
        }
        self.give(batch, books)?;
        self.rows += batch.records.num_rows() as u64;
        Ok(())
    }

    /// Returns whether the sink takes a file in the place of a partition's rows. Begins
    /// the transaction if it keeps such files, which nobody is shut out by.
    pub(super) fn takes(
        &mut self,
        info: &PartitionInfo,
        file: &WholeFile,
        books: &mut Books<'_>,
    ) -> Result<bool> {
        if !self.wants(info.id) || !self.takes_files_of(&file.place)? {
            return Ok(false);
        }
        self.open(books)?;
        let Some(txn) = &self.txn else {
            return Ok(false);
        };
        let takes = contained("the sink", || Ok(txn.takes(info, file)));
        self.judged(takes)
    }

    /// Returns whether the sink keeps files where these are, which are all in one place.
    fn takes_files_of(&mut self, place: &FilePlace) -> Result<bool> {
        if let Some(known) = self.takes_files {
            return Ok(known);
        }
        let (sink, cx) = (self.sink, &self.cx);
        let form = contained("the sink", || Ok(sink.file_form(cx, place)?.is_some()));
        let takes = self.judged(form)?;
        self.takes_files = Some(takes);
        Ok(takes)
    }

    /// Gives the transaction a file that it takes.
    pub(super) fn take(
        &mut self,
        id: PartitionId,
        file: &WholeFile,
        books: &mut Books<'_>,
    ) -> Result<()> {
        let started = Instant::now();
        let taken = self.pass_on(|txn| txn.take(id, file));
        books.slot(id).write += started.elapsed();
        taken?;
        self.rows += file.rows;
        Ok(())
    }

    /// Gives the transaction a batch, and enters how long that takes.
    fn give(&mut self, batch: &Batch, books: &mut Books<'_>) -> Result<()> {
        let started = Instant::now();
        let given = self.pass_on(|txn| txn.write(batch));
        books.slot(batch.partition).write += started.elapsed();
        given
    }

    /// Makes a call of the transaction, which has begun.
    fn pass_on(&mut self, call: impl FnOnce(&mut Guarded<'r>) -> Result<()>) -> Result<()> {
        let txn = self.txn.as_mut().expect("a partition was announced");
        let done = contained("the sink", || call(txn));
        self.judged(done)
    }

    /// Commits what was begun.
    pub(super) fn commit(&mut self, outcomes: &Outcomes<'_>) -> Result<CommitSummary> {
        let txn = self.txn.take().expect("it has begun");
        self.commit_tried = true;
        let outcome = Outcome {
            missing: &outcomes.missing,
            rows: self.rows,
            units: &outcomes.units,
        };
        let committed = contained("the sink", || txn.commit(&outcome));
        self.judged(committed)
    }

    /// Aborts what was begun.
    pub(super) fn give_up(&mut self, error: Error, books: &mut Books<'_>) -> Ending {
        let residue = match self.txn.take() {
            None => self.residue_without(&error),
            Some(txn) if self.state == SinkState::Panicked => self.residue_of_dropped(txn),
            Some(txn) => contained("the sink", || txn.abort()).unwrap_or_else(|failed| {
                books.warn(format!("the sink could not abort: {}", failed.in_a_line()));
                Residue::Unknown
            }),
        };
        if self.state == SinkState::Failed && is_closed(&error) {
            // The sink knows better: part of the last batch may have gone out.
            let rows = match residue {
                Residue::Rows(rows) => rows,
                Residue::None => 0,
                Residue::Unknown => self.rows,
            };
            return Ending::Stopped { rows };
        }
        Ending::Aborted { error, residue }
    }

    /// Returns what remains when there is no transaction (any more).
    ///
    /// A commit that returns an error has taken everything back, if the sink
    /// can; one that panicked may have come to its end, and a sink may say that
    /// it does not know.
    fn residue_without(&self, error: &Error) -> Residue {
        if !self.commit_tried {
            return Residue::None;
        }
        let unknown = self.state == SinkState::Panicked || error.is_in_doubt();
        if !unknown && (self.is_transactional() || self.rows == 0) {
            return Residue::None;
        }
        Residue::Unknown
    }

    /// Drops a transaction that has panicked: it is not asked again.
    fn residue_of_dropped(&self, txn: Box<Guarded<'r>>) -> Residue {
        let dropped = contained("the sink", || {
            drop(txn);
            Ok(())
        });
        if dropped.is_ok() && self.is_transactional() {
            return Residue::None;
        }
        Residue::Unknown
    }

    /// Asks the sink, and tells when it is asked again because somebody else
    /// has the destination.
    fn patiently<T>(
        &self,
        patience: Duration,
        books: &mut Books<'_>,
        call: impl Fn(&'r dyn Sink, &TxnContext) -> Result<T>,
    ) -> Result<T> {
        let (sink, cx) = (self.sink, &self.cx);
        let mut done = contained("the sink", || call(sink, cx));
        if let Err(error) = &done
            && error.is_busy()
            && !patience.is_zero()
        {
            books.warn(format!("{}; the run waits for it", error.in_a_line()));
            let again = || patiently(patience, &cx.cancel, || call(sink, cx));
            done = contained("the sink", again);
        }
        done
    }

    /// Notes whether the sink did what it was asked to.
    fn judged<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.state = match error.kind() {
                ErrorKind::Panic => SinkState::Panicked,
                _ => SinkState::Failed,
            };
        }
        result
    }
}
