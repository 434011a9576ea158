//! One attempt at a run: plan → workers → writer → commit.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Select, TryRecvError, bounded};

use super::books::Books;
use super::ending::{Ending, contained, fate_of};
use super::late::Late;
use super::order::Order;
use super::pipeline::{OnFailure, Pipeline};
use super::worker::{Crew, Message, Work};
use super::writer::Outcomes;
use super::writers::Writers;
use crate::batch::{Batch, PartitionId};
use crate::cancel::CancelGuard;
use crate::context::{RunContext, incomplete};
use crate::error::{Error, ErrorKind, Result};
use crate::report::PartitionStatus;
use crate::source::{Fate, Plan, Session, Unit};
use crate::transform::OpenTransform;
use crate::whole_file::WholeFile;

/// How often an observer hears when nothing arrives.
const TICK: Duration = Duration::from_millis(200);

/// One attempt, on the thread that writes.
pub(super) struct Attempt<'r, 'b, 'o> {
    pub(super) pipeline: &'r Pipeline,
    pub(super) cx: RunContext,
    pub(super) transforms: Arc<[OpenTransform]>,
    /// What fixes the columns, if they go by the rows.
    pub(super) late: Option<Fixing>,
    pub(super) writers: Writers<'r>,
    pub(super) books: &'b mut Books<'o>,
    pub(super) queue: Option<NonZeroUsize>,
    /// Whether another attempt may follow this one.
    pub(super) may_start_over: bool,
}

/// Columns that are not fixed when the attempt begins.
pub(super) struct Fixing {
    late: Arc<Late>,
    /// Whether the sinks know the columns.
    fixed: bool,
    /// Units without rows, to be announced when they do.
    unannounced: Vec<PartitionId>,
}

impl Fixing {
    pub(super) fn new(late: Arc<Late>) -> Fixing {
        Fixing {
            late,
            fixed: false,
            unannounced: Vec::new(),
        }
    }
}

impl Attempt<'_, '_, '_> {
    /// Makes the attempt, to read `units` or what the source plans.
    ///
    /// `guard` is that of the attempt's own cancel token.
    pub(super) fn make(mut self, units: Option<&[Unit]>, guard: CancelGuard) -> Ending {
        self.writers.reads_since(Instant::now());
        let opened = self.open(units);
        self.books.drain_notices();
        let (session, plan) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ending::nothing_done(error),
        };
        // Every day is there already.
        let nothing_to_do = plan.units.is_empty() && self.writers.run().1.partitions_are_days;
        let crew = Crew::new(
            &self.cx,
            &session,
            (
                &self.transforms,
                self.late.as_ref().map(|fixing| &fixing.late),
            ),
            self.pipeline,
            &plan,
            self.queue,
        );
        self.books.planned(&plan, crew.size());
        self.writers.narrow(&plan.units);
        let ending = if nothing_to_do {
            Ending::Committed {
                rows: 0,
                partial: false,
            }
        } else {
            self.finish(&*session, plan, crew, guard)
        };
        self.books.drain_notices();
        // What one sink lacks is written from what is there already.
        let fate = if self.books.left_a_sink_out() {
            Fate::Unfinished
        } else {
            fate_of(&ending)
        };
        let told = contained("the source", || {
            session.finish(fate);
            Ok(())
        });
        if let Err(error) = told {
            self.books.warn(error.in_a_line());
        }
        ending
    }

    /// Reads, writes and commits, and ends what has begun if that fails.
    fn finish(
        &mut self,
        session: &dyn Session,
        plan: Plan,
        mut crew: Crew,
        guard: CancelGuard,
    ) -> Ending {
        match self.take_all(session, plan, &mut crew) {
            Ok(()) => {
                drop(crew);
                let committed = self.commit();
                committed.unwrap_or_else(|error| self.writers.give_up(error, self.books))
            }
            Err(error) => {
                // The guard first: it wakes every worker, so that none waits
                // for a thread that no longer listens.
                drop(guard);
                let ending = self.writers.give_up(error, self.books);
                crew.disband();
                ending
            }
        }
    }

    /// Opens the source and lets it plan, and tells meanwhile what it waits for.
    fn open(&mut self, units: Option<&[Unit]>) -> Result<(Arc<dyn Session>, Plan)> {
        let (source, cx) = (&self.pipeline.source, &self.cx);
        let open = move || {
            contained("the source", || {
                let session: Arc<dyn Session> = source.open(cx)?.into();
                let plan = match units {
                    None => session.plan()?,
                    Some(units) => Plan {
                        units: units.to_vec(),
                        max_workers: source.outline(&cx.held).max_workers,
                        requests: units.len() as u64,
                        ..Plan::default()
                    },
                };
                Ok((session, plan))
            })
        };
        let (done, opened) = bounded(1);
        let books = &mut *self.books;
        let notices = books.notices();
        let planned = std::thread::scope(|scope| {
            let in_thread = move || {
                // The receiver is there until the plan is.
                let _ = done.send(open());
            };
            let thread = std::thread::Builder::new().name("mixflow-plan".to_owned());
            if let Err(error) = thread.spawn_scoped(scope, in_thread) {
                log::warn!("cannot start a thread for the plan: {error}");
                return open();
            }
            loop {
                let mut select = Select::new();
                select.recv(&opened);
                select.recv(&notices);
                books.waited_for(select.ready_timeout(TICK).is_ok());
                if let Ok(planned) = opened.try_recv() {
                    return planned;
                }
            }
        })?;
        self.cx.cancel.check()?;
        Ok(planned)
    }

    /// Takes what the workers send until every unit is through.
    fn take_all(&mut self, session: &dyn Session, plan: Plan, crew: &mut Crew) -> Result<()> {
        if let Some(warning) = crew.warning.take() {
            self.books.warn(warning);
        }
        let total = plan.units.len();
        let mut units = plan.units.into_iter().zip(0..);
        // Files have no order among each other.
        let may_be_files = !plan.ordered && self.transforms.is_empty() && self.late.is_none();
        let mut order = Order::new(plan.ordered, Arc::clone(&crew.room), crew.size());
        let mut given = 0;
        while self.books.totals.done < total {
            for (unit, n) in units.by_ref().take(order.within(total) - given) {
                let id = PartitionId(n);
                let file = match may_be_files {
                    true => self.file_of(session, &unit, id)?,
                    false => None,
                };
                crew.give(Work { id, unit, file });
                given += 1;
            }
            if given == total {
                crew.no_more_work();
            }
            let Some(message) = self.next(&crew.messages)? else {
                continue;
            };
            self.note(&message);
            for message in order.admit(message) {
                self.take(message)?;
            }
        }
        Ok(())
    }

    /// Returns the file that has the rows of a unit, if the sink takes it.
    fn file_of(
        &mut self,
        session: &dyn Session,
        unit: &Unit,
        id: PartitionId,
    ) -> Result<Option<Box<WholeFile>>> {
        let Some(file) = contained("the source", || Ok(session.file(unit)))? else {
            return Ok(None);
        };
        let info = self.books.slot(id).info.clone();
        let takes = self.writers.takes(&info, &file, self.books)?;
        Ok(takes.then(|| Box::new(file)))
    }

    /// Waits for a message; `None` when something else came first.
    fn next(&mut self, messages: &Receiver<Message>) -> Result<Option<Message>> {
        let notices = self.books.notices();
        let mut select = Select::new();
        select.recv(messages);
        select.recv(&notices);
        self.cx.cancel.add_to(&mut select);
        let something = select.ready_timeout(TICK).is_ok();
        self.cx.cancel.check()?;
        self.books.waited_for(something);
        match messages.try_recv() {
            Ok(message) => Ok(Some(message)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Error::new(
                ErrorKind::Other,
                "no worker thread could be started",
            )),
        }
    }

    /// Tells what is worth telling at once, whether or not it is its turn.
    fn note(&mut self, message: &Message) {
        match message {
            Message::Begin { id, worker } => self.books.begun(*id, *worker),
            Message::Batch { .. } | Message::File { .. } => {}
            Message::Done { id, spent, .. } => self.books.read(*id, spent),
        }
    }

    fn take(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Begin { .. } => Ok(()),
            // The place is given up when the sink has the rows.
            Message::Batch {
                id,
                records,
                place: _place,
            } => self.write(Batch {
                records,
                partition: id,
            }),
            Message::File { id, file } => {
                self.announce(id)?;
                self.writers.take(id, &file, self.books)?;
                self.books.took_file(id, file.rows);
                Ok(())
            }
            Message::Done {
                id,
                attempts,
                counts,
                result,
                ..
            } => {
                self.books.ended(id, attempts, *counts, &result);
                self.unit_ended(id, result)
            }
        }
    }

    fn write(&mut self, batch: Batch) -> Result<()> {
        let id = batch.partition;
        self.fix_columns()?;
        self.announce(id)?;
        self.writers.write(&batch, self.books)?;
        self.books.wrote(id, batch.records.num_rows() as u64);
        Ok(())
    }

    /// Tells the sinks the columns, once, and announces what waits for that.
    fn fix_columns(&mut self) -> Result<()> {
        let Some(fixing) = self.late.as_mut().filter(|fixing| !fixing.fixed) else {
            return Ok(());
        };
        fixing.fixed = true;
        let unannounced = std::mem::take(&mut fixing.unannounced);
        let schema = match fixing.late.schema() {
            Some(schema) => schema,
            None => fixing.late.schema_without_rows()?,
        };
        self.writers.set_schema(&schema, self.books)?;
        unannounced.into_iter().try_for_each(|id| self.announce(id))
    }

    fn announce(&mut self, id: PartitionId) -> Result<()> {
        if let Some(fixing) = self.late.as_mut().filter(|fixing| !fixing.fixed) {
            fixing.unannounced.push(id);
            return Ok(());
        }
        let info = self.books.slot(id).info.clone();
        self.writers.announce(&info, self.books)
    }

    /// Decides what the end of a unit means for the run.
    fn unit_ended(&mut self, id: PartitionId, result: Result<()>) -> Result<()> {
        if result.is_ok() {
            self.announce(id)?;
        }
        let error = result.err();
        self.books.tell_ended(id, error.as_ref());
        let Some(error) = error else { return Ok(()) };
        let keep = self.pipeline.options.on_failure == OnFailure::Keep;
        // With one unit, or none left that could succeed, there is nothing to
        // keep.
        if !keep || error.is_fatal() || self.books.all(PartitionStatus::Failed) {
            return Err(error);
        }
        let slot = self.books.slot(id);
        let (label, rows) = (&slot.info.label, slot.rows);
        if rows > 0 && self.writers.is_any_transactional() {
            return Err(error.context(format!(
                "{label} broke off after {rows} of its rows were written, so nothing can be kept"
            )));
        }
        log::warn!("{label} is missing: {}", error.in_a_line());
        Ok(())
    }

    /// Commits, every unit being through.
    fn commit(&mut self) -> Result<Ending> {
        self.compare_with_announced()?;
        let missing = self.books.missing();
        if !missing.is_empty() && self.books.all(PartitionStatus::Failed) {
            return Err(Error::new(ErrorKind::Other, "no partition could be read"));
        }
        self.check_min_rows()?;
        let (run_id, source) = self.writers.run();
        let units = self.books.fetched(run_id, source.limit.is_some());
        self.books.warn_of_rows_outside(&units);
        self.fix_columns()?;
        self.books.tell_committing();
        self.writers.begin(self.books)?;
        // The last moment at which an interrupt can still be heard.
        self.cx.cancel.check()?;
        let outcomes = Outcomes {
            missing: missing.into(),
            units: units.into(),
        };
        self.writers.commit(&outcomes, &self.cx.cancel, self.books)
    }

    fn check_min_rows(&self) -> Result<()> {
        let (rows, min_rows) = (self.books.rows(), self.pipeline.options.min_rows);
        if rows >= min_rows {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Data,
            format!("{rows} rows arrived, fewer than `min_rows = {min_rows}`"),
        )
        .hint("check the dates and filters, or lower `min_rows`"))
    }

    /// Compares the rows of the source with what it had said.
    ///
    /// More are a warning. Fewer make the plan void once; after that they are
    /// a failure: what is missing takes a slot of its own, or fails the run.
    fn compare_with_announced(&mut self) -> Result<()> {
        let given = self.books.totals.given;
        let arrived = given + self.books.rejects.count();
        let Some(expected) = self.books.totals.expected_rows else {
            return Ok(());
        };
        if expected == arrived || !self.books.all(PartitionStatus::Done) {
            return Ok(());
        }
        let said = format!("the source announced {expected} rows and gave {arrived}");
        if arrived > expected || self.pipeline.source.accepts_short() {
            self.books.warn(said);
            return Ok(());
        }
        let error = incomplete(said.clone()).hint(
            "run it again later; `accept_short = true` takes what there is, for a source whose totals are known to be wrong",
        );
        let nothing_visible = self.writers.are_all_transactional() || self.books.rows() == 0;
        if self.may_start_over && nothing_visible {
            return Err(error.voids_plan());
        }
        if self.pipeline.options.on_failure == OnFailure::Abort || given == 0 {
            return Err(error);
        }
        let label = format!("{} of {expected} announced rows", expected - arrived);
        self.books.enter_missing(label, said);
        Ok(())
    }
}
