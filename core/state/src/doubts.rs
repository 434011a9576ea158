//! Commits in doubt: a run that lost its destination while it committed does not
//! know what became of it. The next run that comes to the destination finds out.

use mixflow_core::destination::Destination;
use mixflow_core::error::Error;
use mixflow_core::report::RunReport;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::failure::{Failure, Unavailable};
use crate::identity::key;
use crate::store::State;

/// A commit of which it is not known whether it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The run.
    pub run_id: String,
    /// Which of the run's sinks it is, counted from 0.
    pub sink: u32,
}

impl State {
    /// Returns the commits to `destination` that are in doubt, oldest first.
    ///
    /// Fails when the state cannot be used.
    pub fn doubts(&self, destination: &Destination) -> Result<Vec<Doubt>, Unavailable> {
        if !self.exists() {
            return Ok(Vec::new());
        }
        self.with(|db| {
            let mut statement = db.conn.prepare(
                "SELECT run_id, sink FROM doubts WHERE destination = ?1 ORDER BY run_id",
            )?;
            let found = statement.query_map([key(destination)], |row| {
                Ok(Doubt {
                    run_id: row.get(0)?,
                    sink: row.get(1)?,
                })
            })?;
            Ok(found.collect::<Result<_, _>>()?)
        })
    }

    /// Enters what became of a commit that was in doubt, in the report of its run
    /// too.
    ///
    /// Fails when it could not be written; then it is still in doubt.
    pub fn settle(
        &self,
        destination: &Destination,
        doubt: &Doubt,
        is_committed: bool,
    ) -> Result<(), Unavailable> {
        self.with(|db| {
            db.durably(|conn| {
                let txn = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
                txn.execute(
                    "DELETE FROM doubts WHERE destination = ?1 AND run_id = ?2 AND sink = ?3",
                    params![key(destination), doubt.run_id, doubt.sink],
                )?;
                let report = txn.query_row(
                    "SELECT report FROM runs WHERE run_id = ?1 AND report IS NOT NULL",
                    [&doubt.run_id],
                    |row| row.get::<_, String>(0),
                );
                // One that a later version has written stays as it is.
                let report = report.optional()?;
                let report = report.and_then(|json| serde_json::from_str::<RunReport>(&json).ok());
                if let Some(mut report) = report {
                    report.settle(doubt.sink as usize, is_committed);
                    txn.execute(
                        "UPDATE runs SET report = ?2 WHERE run_id = ?1",
                        params![doubt.run_id, serde_json::to_string(&report)?],
                    )?;
                }
                Ok(txn.commit()?)
            })
        })
    }
}

/// Notes which commits of a run are in doubt, in the transaction that enters how it
/// ended.
pub(crate) fn note(conn: &Connection, report: &RunReport) -> Result<(), Failure> {
    let is_in_doubt = |error: &Option<Error>| error.as_ref().is_some_and(Error::is_in_doubt);
    let alone = [(&report.destination, &report.error)];
    let several: Vec<_> = report
        .sinks
        .iter()
        .map(|s| (&s.destination, &s.error))
        .collect();
    let sinks = match several.as_slice() {
        [] => alone.as_slice(),
        several => several,
    };
    for (sink, (destination, error)) in (0_u32..).zip(sinks) {
        if is_in_doubt(error) {
            conn.execute(
                "INSERT OR IGNORE INTO doubts (destination, run_id, sink) VALUES (?1, ?2, ?3)",
                params![key(destination), report.run_id, sink],
            )?;
        }
    }
    Ok(())
}
