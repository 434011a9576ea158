//! What a run tells while it goes on.

use std::time::Duration;

use crate::context::Notice;

/// Hears how a run goes on, on the thread that runs it.
///
/// Called at least for every batch, so at least every
/// [`MAX_BATCH_ROWS`](crate::batch::MAX_BATCH_ROWS) rows, and several times a
/// second while nothing arrives. A slow observer slows the run.
pub trait Observer {
    /// Hears one event.
    fn on_event(&mut self, event: &RunEvent<'_>);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on_event(&mut self, _event: &RunEvent<'_>) {}
}

impl<F: FnMut(&RunEvent<'_>)> Observer for F {
    fn on_event(&mut self, event: &RunEvent<'_>) {
        self(event);
    }
}

/// One thing that happened in a run. More come with time.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum RunEvent<'a> {
    /// Somebody else writes to the destination, and is waited for.
    Queued {
        /// Who it is, for people.
        behind: &'a str,
        /// What they have.
        destination: &'a str,
    },
    /// The work is split; the first request for rows comes next.
    Planned {
        /// The number of partitions.
        partitions: usize,
        /// The number of rows, if the source was told.
        expected_rows: Option<u64>,
        /// The threads that will read.
        workers: usize,
    },
    /// A worker begins with a partition.
    PartitionStarted {
        /// What people call it.
        label: &'a str,
        /// The worker, counted from 0.
        worker: usize,
    },
    /// A worker is through with a partition. Where order matters its rows may
    /// wait for those of another.
    PartitionRead {
        /// What people call it.
        label: &'a str,
        /// The worker, counted from 0.
        worker: usize,
        /// The totals now.
        progress: &'a Progress,
    },
    /// Rows reached the sink, or time passed.
    Progress(&'a Progress),
    /// A partition is through.
    PartitionDone {
        /// What people call it.
        label: &'a str,
        /// Rows that it gave.
        rows: u64,
        /// Why it failed, if it did.
        error: Option<&'a crate::error::Error>,
        /// The totals now.
        progress: &'a Progress,
    },
    /// Something worth telling a person.
    Notice(&'a Notice),
    /// Everything is there; what has waited is written, and the commit comes next.
    Committing(&'a Progress),
}

/// Totals of a run so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Rows given to the sink.
    pub rows: u64,
    /// Records put aside.
    pub rejected: u64,
    /// Bytes that came over the wire.
    pub bytes: u64,
    /// Requests made.
    pub requests: u64,
    /// Requests that were made again.
    pub retries: u64,
    /// Partitions that workers are through with.
    pub partitions_read: usize,
    /// Partitions that are through, with all their rows.
    pub partitions_done: usize,
    /// Partitions in the plan.
    pub partitions: usize,
    /// The number of rows, if the source was told.
    pub expected_rows: Option<u64>,
    /// Time since the run started.
    pub elapsed: Duration,
}
