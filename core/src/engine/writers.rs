//! The sinks of a run, each with a transaction of its own.
//!
//! All of them are looked at before the first request, and get the same batches.
//! One that fails after that is given up alone; the run goes on for the others,
//! which commit one after the other in their order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;

use super::books::Books;
use super::ending::{Ending, is_closed, together};
use super::sinks::Sinks;
use super::writer::{Outcomes, Writer};
use crate::batch::{Batch, PartitionId};
use crate::cancel::CancelToken;
use crate::destination::Destination;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Calendar, Held, Ledger, LedgerStore, Recorded};
use crate::made_of::Existing;
use crate::sink::{PartitionInfo, TxnContext};
use crate::source::{SourceInfo, Unit};
use crate::whole_file::WholeFile;

/// What writes the rows of one attempt. Dropping it aborts what has not ended.
pub(super) struct Writers<'r> {
    cx: TxnContext,
    lanes: Vec<Lane<'r>>,
    /// What the first sink that failed said.
    first_failure: Option<Error>,
}

/// A sink's way through a run.
struct Lane<'r> {
    writer: Writer<'r>,
    /// Keeps the ledger, if the sink keeps none.
    store: Option<&'r dyn LedgerStore>,
    /// Why it failed, if that is to end the run.
    failure: Option<Error>,
    /// How it ended, if it has.
    ending: Option<Ending>,
}

impl<'r> Writers<'r> {
    pub(super) fn new(sinks: &'r Sinks, cx: &TxnContext, patience: Duration) -> Writers<'r> {
        let lanes = sinks.iter().map(|sink| Lane {
            writer: Writer::new(sink, cx.clone(), patience),
            store: None,
            failure: None,
            ending: None,
        });
        Writers {
            cx: cx.clone(),
            lanes: lanes.collect(),
            first_failure: None,
        }
    }

    /// Returns the run's id, and what it reads.
    pub(super) fn run(&self) -> (&str, &SourceInfo) {
        (&self.cx.run_id, &self.cx.source)
    }

    /// Returns whether a sink takes back what it was given.
    pub(super) fn is_any_transactional(&self) -> bool {
        self.lanes.iter().any(|lane| lane.writer.is_transactional())
    }

    /// Returns whether all sinks take back what they were given.
    pub(super) fn are_all_transactional(&self) -> bool {
        self.lanes.iter().all(|lane| lane.writer.is_transactional())
    }

    /// Looks at all destinations before the first request.
    pub(super) fn preview(&self, patience: Duration, books: &mut Books<'_>) -> Result<()> {
        for lane in &self.lanes {
            lane.writer.preview(patience, books)?;
        }
        Ok(())
    }

    /// Takes all destinations before the first request, in an order that is the same
    /// for every run, so that two runs do not wait for each other.
    pub(super) fn reserve(&mut self, patience: Duration, books: &mut Books<'_>) -> Result<()> {
        let mut lanes: Vec<&mut Lane<'r>> = self.lanes.iter_mut().collect();
        lanes.sort_by_cached_key(|lane| lane.destination().to_string());
        let mut lanes = lanes.into_iter();
        lanes.try_for_each(|lane| lane.writer.reserve(patience, books))
    }

    /// Returns the columns that the destinations have.
    pub(super) fn existing(
        &self,
        patience: Duration,
        books: &mut Books<'_>,
    ) -> Result<Vec<Existing>> {
        let lanes = self.lanes.iter();
        lanes
            .map(|lane| lane.writer.existing(patience, books))
            .collect()
    }

    /// Has the rows come in these columns. Nothing was announced yet.
    pub(super) fn set_schema(&mut self, schema: &SchemaRef, books: &mut Books<'_>) -> Result<()> {
        self.each(books, |writer, _| writer.set_schema(schema))
    }

    /// Narrows what the sinks are told of the source to the days of `units`.
    pub(super) fn narrow(&mut self, units: &[Unit]) {
        self.cx.source.narrow(units);
        for lane in &mut self.lanes {
            lane.writer.narrow(units);
        }
    }

    /// Returns what the destinations hold, by the ledgers of the sinks, and by
    /// `ledgers` for those that keep none. If the plan goes by it, which is as
    /// `calendar` says, days that one of them would get twice are an error.
    pub(super) fn held(
        &mut self,
        patience: Duration,
        ledgers: Option<&'r dyn LedgerStore>,
        calendar: Option<&Calendar>,
        books: &mut Books<'_>,
    ) -> Result<Held> {
        let (mut all, mut unread) = (Vec::new(), Vec::new());
        for lane in &mut self.lanes {
            let ledger = match lane.ledger(patience, ledgers, books)? {
                Ok(ledger) => ledger,
                Err(error) => {
                    let why = error.in_a_line();
                    unread.push(why.clone());
                    Ledger::lost(why)
                }
            };
            let held = Held {
                ledger: Arc::new(ledger),
                earlier: lane.writer.earlier(),
            };
            all.push((lane.destination(), held));
        }
        let held = match calendar {
            Some(calendar) => Held::to_catch_up(&all, calendar.start)?,
            None => Held::by_all(&all.into_iter().map(|(_, held)| held).collect::<Vec<_>>()),
        };
        for why in unread {
            books.warn(format!(
                "{why}; its days count as missing, and so do those of this run"
            ));
        }
        Ok(held)
    }

    /// Tells since when rows are asked for.
    pub(super) fn reads_since(&mut self, when: Instant) {
        for lane in &mut self.lanes {
            lane.writer.reads_since(when);
        }
    }

    /// Begins each transaction, unless it has begun, and gives it what waits.
    pub(super) fn begin(&mut self, books: &mut Books<'_>) -> Result<()> {
        self.each(books, |writer, books| writer.begin(books))
    }

    /// Announces a partition, once.
    pub(super) fn announce(&mut self, info: &PartitionInfo, books: &mut Books<'_>) -> Result<()> {
        self.each(books, |writer, books| writer.announce(info, books))
    }

    /// Writes a batch of a partition that was announced.
    pub(super) fn write(&mut self, batch: &Batch, books: &mut Books<'_>) -> Result<()> {
        self.each(books, |writer, books| writer.write(batch, books))
    }

    /// Returns whether the one sink takes a file in the place of a partition's rows.
    /// Of several sinks each would have to, so none does.
    pub(super) fn takes(
        &mut self,
        info: &PartitionInfo,
        file: &WholeFile,
        books: &mut Books<'_>,
    ) -> Result<bool> {
        match self.lanes.as_mut_slice() {
            [lane] => lane.writer.takes(info, file, books),
            _ => Ok(false),
        }
    }

    /// Gives a file that the sink takes.
    pub(super) fn take(
        &mut self,
        id: PartitionId,
        file: &WholeFile,
        books: &mut Books<'_>,
    ) -> Result<()> {
        self.each(books, |writer, books| writer.take(id, file, books))
    }

    /// Commits what was begun, one sink after the other. Fails when none could.
    pub(super) fn commit(
        &mut self,
        outcomes: &Outcomes<'_>,
        cancel: &CancelToken,
        books: &mut Books<'_>,
    ) -> Result<Ending> {
        for n in 0..self.lanes.len() {
            if self.lanes[n].ending.is_some() {
                continue;
            }
            // Between two commits, too, an interrupt can be heard.
            let heard = if self.has_committed() {
                cancel.check()
            } else {
                Ok(())
            };
            let lane = &mut self.lanes[n];
            match heard.and_then(|()| lane.commit(outcomes, books)) {
                Ok(ending) => lane.ending = Some(ending),
                Err(error) => self.lost(n, error, books)?,
            }
        }
        Ok(self.close(None, books))
    }

    /// Aborts what was begun, because of `error`.
    pub(super) fn give_up(&mut self, error: Error, books: &mut Books<'_>) -> Ending {
        if let [lane] = self.lanes.as_mut_slice() {
            return lane.writer.give_up(error, books);
        }
        for lane in &mut self.lanes {
            if lane.ending.is_none() {
                let failure = lane.failure.take().unwrap_or_else(|| error.clone());
                lane.ending = Some(lane.writer.give_up(failure, books));
            }
        }
        self.close(Some(error), books)
    }

    /// Calls each writer that goes on.
    fn each(
        &mut self,
        books: &mut Books<'_>,
        mut call: impl FnMut(&mut Writer<'r>, &mut Books<'_>) -> Result<()>,
    ) -> Result<()> {
        for n in 0..self.lanes.len() {
            if self.lanes[n].ending.is_none()
                && let Err(error) = call(&mut self.lanes[n].writer, books)
            {
                self.lost(n, error, books)?;
            }
        }
        Ok(())
    }

    /// Gives up a sink that has failed. Fails, with what the first one said that
    /// did, if there is nothing left that the run could go on for.
    fn lost(&mut self, n: usize, error: Error, books: &mut Books<'_>) -> Result<()> {
        let has_committed = self.has_committed();
        let is_interrupt = error.kind() == ErrorKind::Interrupted && !has_committed;
        if self.lanes.len() == 1 || is_interrupt {
            return Err(error);
        }
        if !is_closed(&error) {
            self.first_failure.get_or_insert_with(|| error.clone());
        }
        let mut others = self.lanes.iter().enumerate().filter(|(m, _)| *m != n);
        if !has_committed && others.all(|(_, lane)| lane.ending.is_some()) {
            let first = self.first_failure.clone();
            let first = first.unwrap_or_else(|| error.clone());
            self.lanes[n].failure = Some(error);
            return Err(first);
        }
        let lane = &mut self.lanes[n];
        let (destination, why) = (lane.destination(), error.in_a_line());
        books.warn(format!("nothing more goes to {destination}: {why}"));
        lane.ending = Some(lane.writer.give_up(error, books));
        Ok(())
    }

    fn has_committed(&self) -> bool {
        let mut endings = self.lanes.iter().filter_map(|lane| lane.ending.as_ref());
        endings.any(|ending| matches!(ending, Ending::Committed { .. }))
    }

    /// Returns how the run ended, every sink having ended.
    fn close(&mut self, error: Option<Error>, books: &mut Books<'_>) -> Ending {
        let endings = self.lanes.iter_mut().filter_map(|lane| lane.ending.take());
        let endings: Vec<Ending> = endings.collect();
        let ending = together(&endings, error);
        books.sinks_ended(endings);
        ending
    }
}

impl<'r> Lane<'r> {
    fn destination(&self) -> Destination {
        self.writer.destination()
    }

    /// Returns what the destination holds already, and notes who keeps its
    /// ledger if the sink does not. One that cannot be read, which is the inner
    /// error, is not added to: its days are fetched again.
    fn ledger(
        &mut self,
        patience: Duration,
        ledgers: Option<&'r dyn LedgerStore>,
        books: &mut Books<'_>,
    ) -> Result<Result<Ledger>> {
        if let Some(ledger) = self.writer.ledger(patience, books)? {
            return Ok(Ok(ledger));
        }
        let Some(store) = ledgers else {
            return Ok(Ok(Ledger::default()));
        };
        let ledger = store.read(&self.destination(), self.writer.dataset());
        if ledger.is_ok() {
            self.store = Some(store);
        }
        Ok(ledger)
    }

    fn commit(&mut self, outcomes: &Outcomes<'_>, books: &mut Books<'_>) -> Result<Ending> {
        let mine = self.writer.share_of(outcomes);
        if mine.lacks_everything() {
            return Err(Error::new(ErrorKind::Other, "no partition could be read"));
        }
        let summary = self.writer.commit(&mine)?;
        self.record(&mine, books);
        for warning in summary.warnings {
            books.warn(warning);
        }
        Ok(Ending::Committed {
            rows: summary.rows,
            partial: !mine.missing.is_empty(),
        })
    }

    /// Enters what is committed into the ledger, where the sink keeps none.
    fn record(&self, outcomes: &Outcomes<'_>, books: &mut Books<'_>) {
        let Some(store) = self.store else { return };
        let destination = self.destination();
        let recorded = Recorded {
            units: &outcomes.units,
            earlier: self.writer.earlier(),
        };
        if let Err(error) = store.record(&destination, self.writer.dataset(), &recorded) {
            let why = error.in_a_line();
            books.warn(format!(
                "the days of this run are not in the ledger of {destination}, so they count as missing: {why}"
            ));
        }
    }
}
