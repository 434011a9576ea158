//! The history of runs.
//!
//! A run is entered when it begins and again when it has ended, each durably,
//! so that one that died, or whose end could not be written, is known not to
//! have ended. A run of which not even the begin could be written takes away
//! the file `history.whole`, which a full disk allows; whoever opens the
//! database next notes that something is missing there.

use std::fs;
use std::path::{Path, PathBuf};

use mixflow_core::destination::Destination;
use mixflow_core::report::RunReport;
use rusqlite::{OptionalExtension as _, TransactionBehavior, params};

use crate::doubts;
use crate::failure::Unavailable;
use crate::gaps::{NEXT, WHOLE, missing_after};
use crate::identity::{key_of_all, key_of_all_before};
use crate::store::State;

/// What is known of a run when it begins.
#[derive(Clone, Copy, Debug)]
pub struct Begin<'a> {
    /// The run.
    pub run_id: &'a str,
    /// The canonical path of the pipeline's file, if it has one.
    pub pipeline_path: Option<&'a Path>,
    /// Where it writes to, every sink of the pipeline.
    pub destinations: &'a [Destination],
}

/// A run that has begun.
#[derive(Debug)]
pub struct PastRun {
    /// The run.
    pub run_id: String,
    /// When it began, RFC 3339.
    pub begun_at: String,
    /// How it ended; none if that is not known: it goes on still, it died, or
    /// its end could not be written.
    pub report: Option<RunReport>,
}

/// Where a run came from, and where it went.
#[derive(Debug)]
pub struct Origin {
    /// The pipeline's file, as it was then.
    pub pipeline_path: PathBuf,
    destination: String,
}

impl Origin {
    /// Returns whether the run wrote to these destinations.
    pub fn is_to(&self, destinations: &[Destination]) -> bool {
        self.destination == key_of_all(destinations)
            || self.destination == key_of_all_before(destinations)
    }
}

/// The runs of a pipeline into its destinations.
#[derive(Debug)]
pub struct LastRuns {
    /// They, the one that ended last first.
    pub runs: Vec<PastRun>,
    /// Why runs may be missing that were after all of these, if they may.
    pub missing: Option<String>,
}

impl State {
    /// Enters a run that begins.
    ///
    /// Fails when it could not be written; then it is known, as far as can be,
    /// that the history lacks a run.
    pub fn begin_run(&self, begin: &Begin<'_>) -> Result<(), Unavailable> {
        let path = begin.pipeline_path.map(bytes);
        let now = mixflow_core::clock::now().to_string();
        let begun = self.with(|db| {
            db.durably(|conn| {
                conn.execute(
                    &format!(
                        "INSERT INTO runs (run_id, position, pipeline_path, destination, begun_at)
                         VALUES (?1, {NEXT}, ?2, ?3, ?4)"
                    ),
                    params![begin.run_id, path, key_of_all(begin.destinations), now],
                )?;
                Ok(())
            })
        });
        begun.inspect_err(|_| self.note_that_a_run_is_missing())
    }

    /// Enters how a run ended.
    ///
    /// One whose begin could not be written is entered whole. Fails when it
    /// could not be written, as [`begin_run`](State::begin_run) does.
    pub fn end_run(&self, begin: &Begin<'_>, report: &RunReport) -> Result<(), Unavailable> {
        let path = begin.pipeline_path.map(bytes);
        let ended = self.with(|db| {
            let json = serde_json::to_string(report)?;
            db.durably(|conn| {
                let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
                txn.execute(
                    &format!(
                        "INSERT INTO runs (run_id, position, pipeline_path, destination, begun_at, ended_at, report)
                         VALUES (?1, {NEXT}, ?2, ?3, ?4, ?5, ?6)
                         ON CONFLICT (run_id) DO UPDATE SET
                         position = excluded.position, ended_at = excluded.ended_at, report = excluded.report"
                    ),
                    params![
                        begin.run_id,
                        path,
                        key_of_all(begin.destinations),
                        report.started_at.to_string(),
                        report.completed_at.to_string(),
                        json
                    ],
                )?;
                doubts::note(&txn, report)?;
                Ok(txn.commit()?)
            })
        });
        ended.inspect_err(|_| self.note_that_a_run_is_missing())
    }

    /// Returns the runs that have ended, the last one first, at most `most`.
    ///
    /// Reports that cannot be read, which a later version has written, are left
    /// out. Fails when the state cannot be used.
    pub fn runs(&self, most: usize) -> Result<Vec<RunReport>, Unavailable> {
        if !self.exists() {
            return Ok(Vec::new());
        }
        self.with(|db| {
            let mut statement = db.conn.prepare(
                "SELECT report FROM runs WHERE report IS NOT NULL
                 ORDER BY position DESC LIMIT ?1",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let reports = statement.query_map([most], |row| row.get::<_, String>(0))?;
            let mut runs = Vec::new();
            for report in reports {
                runs.extend(serde_json::from_str(&report?).ok());
            }
            Ok(runs)
        })
    }

    /// Returns the last run of a pipeline's file, wherever it wrote to, that is
    /// one of those that are looked for; `None` for a file means the runs that
    /// have none.
    ///
    /// Fails when the state cannot be used.
    pub fn last_run_that(
        &self,
        pipeline_path: Option<&Path>,
        is_it: impl Fn(&RunReport) -> bool,
    ) -> Result<Option<RunReport>, Unavailable> {
        if !self.exists() {
            return Ok(None);
        }
        self.with(|db| {
            let mut statement = db.conn.prepare(
                "SELECT report FROM runs WHERE pipeline_path IS ?1 AND report IS NOT NULL
                 ORDER BY position DESC",
            )?;
            let path = pipeline_path.map(bytes);
            let mut rows = statement.query(params![path])?;
            while let Some(row) = rows.next()? {
                let report: String = row.get(0)?;
                if let Ok(report) = serde_json::from_str(&report)
                    && is_it(&report)
                {
                    return Ok(Some(report));
                }
            }
            Ok(None)
        })
    }

    /// Returns the runs of a pipeline's file into just these destinations, those
    /// that have not ended among them, at most `most`.
    ///
    /// Fails when the state cannot be used: then nothing is known.
    pub fn last_runs(
        &self,
        pipeline_path: &Path,
        destinations: &[Destination],
        most: usize,
    ) -> Result<LastRuns, Unavailable> {
        self.with(|db| {
            let mut statement = db.conn.prepare(
                "SELECT run_id, begun_at, report, position FROM runs
                 WHERE pipeline_path = ?1 AND destination IN (?2, ?3)
                 ORDER BY position DESC LIMIT ?4",
            )?;
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![
                bytes(pipeline_path),
                key_of_all(destinations),
                key_of_all_before(destinations),
                most
            ])?;
            let (mut runs, mut newest) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                newest = newest.max(row.get::<_, i64>(3)?);
                let report: Option<String> = row.get(2)?;
                runs.push(PastRun {
                    run_id: row.get(0)?,
                    begun_at: row.get(1)?,
                    // One that cannot be read is as good as none.
                    report: report.and_then(|json| serde_json::from_str(&json).ok()),
                });
            }
            let missing = match missing_after(&db.conn, newest)? {
                // Then there may have been runs that nobody could enter.
                None if !db.may_write() => Some("the history cannot be written".to_owned()),
                missing => missing,
            };
            Ok(LastRuns { runs, missing })
        })
    }

    /// Returns where a run came from; `None` if it is not known, or had no file.
    ///
    /// Fails when the state cannot be used.
    pub fn origin(&self, run_id: &str) -> Result<Option<Origin>, Unavailable> {
        if !self.exists() {
            return Ok(None);
        }
        self.with(|db| {
            let found = db.conn.query_row(
                "SELECT pipeline_path, destination FROM runs
                 WHERE run_id = ?1 AND pipeline_path IS NOT NULL",
                [run_id],
                |row| Ok((row.get(0)?, row.get(1)?)),
            );
            let found: Option<(Vec<u8>, String)> = found.optional()?;
            Ok(found.and_then(|(path, destination)| {
                Some(Origin {
                    pipeline_path: path_of(path)?,
                    destination,
                })
            }))
        })
    }

    /// Leaves word for the next one to open the database, who notes it there.
    fn note_that_a_run_is_missing(&self) {
        // Where nothing can be written nothing is known, which is told then.
        let _ = fs::remove_file(self.folder().join(WHOLE));
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

#[cfg(unix)]
fn path_of(bytes: Vec<u8>) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    Some(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> Option<PathBuf> {
    String::from_utf8(bytes).ok().map(PathBuf::from)
}
