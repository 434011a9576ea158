//! An observer that remembers.

use crate::context::Notice;
use crate::observer::{Observer, Progress, RunEvent};

/// Keeps what it hears, in order.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    /// What was heard.
    pub heard: Vec<RecordedEvent>,
}

/// A [`RunEvent`] that can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordedEvent {
    /// See [`RunEvent::Planned`].
    Planned {
        /// The number of partitions.
        partitions: usize,
        /// The number of rows, if the source was told.
        expected_rows: Option<u64>,
        /// The threads that will read.
        workers: usize,
    },
    /// See [`RunEvent::Progress`].
    Progress(Progress),
    /// See [`RunEvent::PartitionDone`].
    PartitionDone {
        /// What people call it.
        label: String,
        /// Rows that it gave.
        rows: u64,
        /// Why it failed, if it did.
        error: Option<String>,
    },
    /// See [`RunEvent::Notice`].
    Notice(Notice),
    /// See [`RunEvent::Committing`].
    Committing,
}

impl Observer for Recorder {
    fn on_event(&mut self, event: &RunEvent<'_>) {
        self.heard.push(match event {
            RunEvent::Planned {
                partitions,
                expected_rows,
                workers,
            } => RecordedEvent::Planned {
                partitions: *partitions,
                expected_rows: *expected_rows,
                workers: *workers,
            },
            // Told in the order in which threads happen to run.
            RunEvent::Queued { .. }
            | RunEvent::PartitionStarted { .. }
            | RunEvent::PartitionRead { .. } => return,
            RunEvent::Progress(progress) => RecordedEvent::Progress((*progress).clone()),
            RunEvent::PartitionDone {
                label, rows, error, ..
            } => RecordedEvent::PartitionDone {
                label: (*label).to_owned(),
                rows: *rows,
                error: error.map(ToString::to_string),
            },
            RunEvent::Notice(notice) => RecordedEvent::Notice((*notice).clone()),
            RunEvent::Committing(_) => RecordedEvent::Committing,
        });
    }
}
