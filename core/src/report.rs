//! How a run ended.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::destination::Destination;
use crate::error::{Error, ErrorKind};
use crate::sink::Residue;
use crate::unit::{DataKind, Unit, UnitKey};

pub use crate::dropped::Dropped;

/// Everything worth keeping of a run.
///
/// A run always ends in a report; its JSON form is what `--report` writes and
/// what the history holds, and is read back into this. A report of an older
/// version lacks some fields, which then have their defaults.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunReport {
    /// The run, unique among runs.
    pub run_id: String,
    /// The run whose missing partitions this one was to fetch.
    pub only_failed_of: Option<String>,
    /// The pipeline's name.
    pub pipeline: String,
    /// The type of the source.
    pub source: String,
    /// The type of the sink; of several the types, for people.
    pub sink: String,
    /// Where the rows are; of several sinks it is where those of the first are.
    pub destination: Destination,
    /// The table, for sinks that have one.
    pub table: Option<String>,
    /// Each sink, in their order, of a run that had several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<SinkReport>,
    /// What the rows are.
    pub data_type: DataKind,
    /// How it ended.
    pub status: Status,
    /// Rows made visible, of several sinks at the one that has most; for an aborted run, rows that remain all the same.
    pub row_count: u64,
    /// Rows that the source gave, before any transform; without the partitions
    /// that failed.
    pub read: u64,
    /// Rows of these that transforms have left out.
    pub dropped: Dropped,
    /// Records that could not be read.
    pub rejected: u64,
    /// Where they are.
    pub reject_file: Option<String>,
    /// Rows left out as duplicates.
    pub duplicates: u64,
    /// Partitions whose files the sink has taken as they were, so that nobody had to
    /// read their rows.
    #[serde(skip_serializing_if = "is_zero")]
    pub files_taken: u64,
    /// Bytes that came over the wire.
    pub bytes_received: u64,
    /// Requests made.
    pub requests: u64,
    /// Requests that were made again.
    pub retries: u64,
    /// The first day asked for, inclusive.
    pub from_date: Option<Date>,
    /// The last day asked for, inclusive.
    pub to_date: Option<Date>,
    /// When the run started.
    pub started_at: Timestamp,
    /// Wall-clock time of the run.
    pub duration_seconds: f64,
    /// When the run ended.
    pub completed_at: Timestamp,
    /// The labels of partitions that another run, which has not committed, had
    /// fetched.
    pub reused_partitions: Vec<String>,
    /// The waits for another try or for quota, in their order; the first 1,000.
    pub waits: Vec<WaitReport>,
    /// Each partition of the plan, in its order.
    pub partitions: Vec<PartitionReport>,
    /// The labels of the partitions that are not in the destination.
    pub failed_partitions: Vec<String>,
    /// Things a person should know.
    pub warnings: Vec<String>,
    /// Those of them that were counted, row by row: for who adds up several reports.
    #[serde(skip)]
    pub counted_warnings: BTreeMap<String, u64>,
    /// What remains visible of an aborted run.
    pub residue: Residue,
    /// Why it did not end well.
    pub error: Option<Error>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl RunReport {
    /// Returns the kind of the error, if there is one.
    pub fn error_kind(&self) -> Option<ErrorKind> {
        self.error.as_ref().map(Error::kind)
    }

    /// Returns all destinations, in the order of the sinks.
    pub fn destinations(&self) -> Vec<&Destination> {
        match self.sinks.as_slice() {
            [] => vec![&self.destination],
            sinks => sinks.iter().map(|sink| &sink.destination).collect(),
        }
    }

    /// Returns the sinks that have failed while others have committed.
    pub fn failed_sinks(&self) -> impl Iterator<Item = &SinkReport> {
        let stands = matches!(self.status, Status::Committed | Status::Partial);
        let failed = move |sink: &&SinkReport| stands && sink.status == Status::Aborted;
        self.sinks.iter().filter(failed)
    }

    /// Says what became of a commit that was in doubt, of the `sink`th sink of the
    /// run, counted from 0.
    pub fn settle(&mut self, sink: usize, is_committed: bool) {
        let done = |part: &&PartitionReport| part.status == PartitionStatus::Done;
        let parts = self.partitions.iter().filter(done);
        let is_whole = self.failed_partitions.is_empty();
        let Some(one) = self.sinks.get_mut(sink) else {
            let rows = parts.map(|part| part.rows).sum();
            let mut alone = SinkReport {
                error: self.error.take(),
                ..SinkReport::default()
            };
            alone.settle(is_committed.then_some((rows, is_whole)));
            self.status = alone.status;
            self.row_count = alone.row_count;
            self.residue = alone.residue;
            self.error = alone.error;
            return;
        };
        let wants = |part: &&PartitionReport| match (&one.units, &part.unit) {
            (Some(own), Some(unit)) => own.contains(&unit.key),
            (wanted, _) => wanted.is_none(),
        };
        let rows = parts.filter(wants).map(|part| part.rows).sum();
        one.settle(is_committed.then_some((rows, is_whole)));
        if !is_committed {
            return;
        }
        self.row_count = self.row_count.max(rows);
        let is_committed = |sink: &SinkReport| sink.status == Status::Committed;
        self.status = match self.sinks.iter().all(is_committed) {
            true => Status::Committed,
            false => Status::Partial,
        };
        self.residue = Residue::None;
        self.error = None;
    }
}

/// How a run ended for one of its sinks.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SinkReport {
    /// The type of the sink.
    pub sink: String,
    /// Where its rows are.
    pub destination: Destination,
    /// The table, for sinks that have one.
    pub table: Option<String>,
    /// How it ended.
    pub status: Status,
    /// Rows that it made visible, or that remain all the same.
    pub row_count: u64,
    /// What remains visible if it was aborted.
    pub residue: Residue,
    /// The units that it was given, if these are not all that were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<BTreeSet<UnitKey>>,
    /// Why it did not end well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

impl SinkReport {
    /// Says what became of a commit in doubt: how many rows it made visible, and
    /// whether these are all; `None` if nothing.
    fn settle(&mut self, committed: Option<(u64, bool)>) {
        self.residue = Residue::None;
        match committed {
            Some((rows, is_whole)) => {
                self.row_count = rows;
                self.status = match is_whole {
                    true => Status::Committed,
                    false => Status::Partial,
                };
                self.error = None;
            }
            None => {
                self.row_count = 0;
                self.status = Status::Aborted;
                self.error = self.error.take().map(Error::without_doubt);
            }
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All rows are in the destination.
    Committed,
    /// The partitions that could be had are in the destination.
    Partial,
    /// The reader of the output went away; the rows before that are with it.
    Stopped,
    /// Nothing was committed.
    #[default]
    Aborted,
}

impl Status {
    /// Returns the name that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Committed => "committed",
            Status::Partial => "partial",
            Status::Stopped => "stopped",
            Status::Aborted => "aborted",
        }
    }
}

/// A wait before a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitReport {
    /// The label of the partition.
    pub label: String,
    /// What is waited for.
    pub kind: WaitKind,
    /// From the start of the run until it began; none in reports of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_seconds: Option<f64>,
    /// How long.
    pub seconds: f64,
    /// Why.
    pub reason: String,
}

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    /// Another try, after one that did not do.
    Retry,
    /// A limit of the server's that is kept here.
    Quota,
}

impl WaitKind {
    /// Returns the name that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            WaitKind::Retry => "retry",
            WaitKind::Quota => "quota",
        }
    }
}

/// How a partition ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionReport {
    /// What people call it.
    pub label: String,
    /// How it ended.
    pub status: PartitionStatus,
    /// Rows that it gave.
    pub rows: u64,
    /// Rows that the source gave for it, before any transform.
    pub read: u64,
    /// Rows of these that transforms have left out.
    #[serde(skip_serializing_if = "Dropped::is_empty")]
    pub dropped: Dropped,
    /// Requests made for it.
    pub attempts: u32,
    /// Why it failed, with its causes.
    pub error: Option<String>,
    /// Rows by the name of the event, for rows that have one; names beyond the
    /// first 100 are counted as `…`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rows_by_event: BTreeMap<String, u64>,
    /// What stands for who its rows are of, of a run of this unit alone: for who puts
    /// several together.
    #[serde(skip)]
    pub ids: Vec<u64>,
    /// Where its time went; none if its turn did not come.
    #[serde(flatten)]
    pub timing: Option<Timing>,
    /// What was to be fetched, so that another run can fetch it. None for rows
    /// that were announced and did not come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// Where the time of a partition went, in seconds.
///
/// Waits are in [`RunReport::waits`], by label, and in `fetch_seconds`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// The worker that read it, counted from 0.
    pub worker: usize,
    /// From the start of the run until it began.
    pub started_seconds: f64,
    /// From the start of the run until it was read.
    pub ended_seconds: f64,
    /// Until the partition was there, or its first bytes under direct
    /// delivery.
    pub fetch_seconds: f64,
    /// Decoding and transforming; under direct delivery also receiving.
    pub decode_seconds: f64,
    /// Waiting for the sink to take batches.
    pub queue_seconds: f64,
    /// The sink's work on its rows.
    pub write_seconds: f64,
}

/// How a partition ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionStatus {
    /// All of it was read.
    Done,
    /// It could not be had.
    Failed,
    /// The run ended before its turn.
    #[default]
    Skipped,
}

impl PartitionStatus {
    /// Returns the name that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            PartitionStatus::Done => "done",
            PartitionStatus::Failed => "failed",
            PartitionStatus::Skipped => "skipped",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> RunReport {
        let mut dropped = Dropped::default();
        dropped.count("filter", "false", 3);
        RunReport {
            run_id: "run-1".to_owned(),
            data_type: DataKind::Profiles,
            status: Status::Partial,
            dropped,
            from_date: Some(jiff::civil::date(2024, 1, 31)),
            started_at: Timestamp::UNIX_EPOCH,
            waits: vec![WaitReport {
                label: "page 1".to_owned(),
                kind: WaitKind::Quota,
                at_seconds: Some(0.5),
                seconds: 1.5,
                reason: "the limit of 60 an hour".to_owned(),
            }],
            partitions: vec![
                PartitionReport {
                    label: "page 0".to_owned(),
                    status: PartitionStatus::Done,
                    timing: Some(Timing {
                        worker: 1,
                        ..Timing::default()
                    }),
                    ..PartitionReport::default()
                },
                PartitionReport::default(),
            ],
            residue: Residue::Rows(7),
            error: Some(
                Error::new(ErrorKind::Quota, "no more")
                    .because("60 an hour")
                    .context("cannot read")
                    .hint("wait"),
            ),
            ..RunReport::default()
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = serde_json::to_string(&report()).expect("a report is JSON");
        let back: RunReport = serde_json::from_str(&text).expect("it is a report");
        assert_eq!(serde_json::to_string(&back).expect("JSON again"), text);
        let error = back.error.expect("it had one");
        assert_eq!(error.kind(), ErrorKind::Quota);
        assert_eq!(error.causes(), ["no more", "60 an hour"]);
        assert_eq!(error.hint_text(), Some("wait"));
        assert_eq!(
            back.partitions[0].timing.map(|timing| timing.worker),
            Some(1)
        );
        assert_eq!(back.partitions[1].timing, None);
    }

    #[test]
    fn a_commit_in_doubt_is_settled_one_way_or_the_other() {
        let doubtful = || Error::new(ErrorKind::Network, "the connection is gone").in_doubt();
        let part = |rows, status| PartitionReport {
            rows,
            status,
            ..PartitionReport::default()
        };
        let run = || RunReport {
            partitions: vec![
                part(3, PartitionStatus::Done),
                part(5, PartitionStatus::Done),
                part(7, PartitionStatus::Failed),
            ],
            residue: Residue::Unknown,
            error: Some(doubtful()),
            ..RunReport::default()
        };
        let mut made = run();
        made.settle(0, true);
        assert_eq!((made.status, made.row_count), (Status::Committed, 8));
        assert!(made.error.is_none() && made.residue == Residue::None);
        let mut made = run();
        made.failed_partitions.push("2024-01-03".to_owned());
        made.settle(0, true);
        assert_eq!(made.status, Status::Partial);
        let mut lost = run();
        lost.settle(0, false);
        assert_eq!(
            (lost.status, lost.residue),
            (Status::Aborted, Residue::None)
        );
        assert!(lost.error.is_some_and(|error| !error.is_in_doubt()));
        // One of two sinks has committed, and of the other it was not known.
        let sink = |status, error| SinkReport {
            status,
            error,
            ..SinkReport::default()
        };
        let mut two = RunReport {
            status: Status::Partial,
            sinks: vec![
                sink(Status::Committed, None),
                sink(Status::Aborted, Some(doubtful())),
            ],
            error: None,
            ..run()
        };
        two.settle(1, true);
        assert_eq!(
            (two.status, two.sinks[1].status),
            (Status::Committed, Status::Committed)
        );
        assert_eq!(two.sinks[1].row_count, 8);
    }

    #[test]
    fn a_report_of_an_older_or_a_newer_version_is_read_as_far_as_it_goes() {
        let old =
            json!({ "run_id": "1", "status": "committed", "residue": "none", "of_tomorrow": 1 });
        let report: RunReport = serde_json::from_value(old).expect("it is a report");
        assert_eq!(
            (report.run_id.as_str(), report.status),
            ("1", Status::Committed)
        );
        let newer =
            json!({ "error": { "kind": "flood", "message": "m", "causes": [], "hint": null } });
        let report: RunReport = serde_json::from_value(newer).expect("it is a report");
        assert_eq!(report.error_kind(), Some(ErrorKind::Other));
    }
}
