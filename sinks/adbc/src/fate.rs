//! Whether a commit is what it says.
//!
//! A connection may go while a transaction is committed: before the database
//! has heard of it, or after it was done. The run is looked for in the ledger, by
//! another connection, once the lost one's transaction has surely ended.

use std::time::{Duration, Instant};

use mixflow_core::cancel::CancelToken;
use mixflow_core::sink::TxnContext;
use mixflow_core::{Error, Result};

use crate::lock;
use crate::runs;
use crate::session::{Access, Address, Session};

/// How long a database that went away is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is tried to connect again.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// What became of a transaction whose end went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Committed,
    RolledBack,
}

/// Looks into the database for what a run has left there.
///
/// Fails if the database does not come back in time.
pub(crate) fn learn(address: &Address, table: &str, cx: &TxnContext) -> Result<Fate> {
    let asked = Instant::now();
    loop {
        match look(address, table, cx) {
            Err(error) if asked.elapsed() < PATIENCE => {
                log::info!(
                    "the fate of the commit is not known yet: {}",
                    error.in_a_line()
                );
                cx.cancel.wait(TRY_AGAIN)?;
            }
            done => return done,
        }
    }
}

fn look(address: &Address, table: &str, cx: &TxnContext) -> Result<Fate> {
    let name = format!("{}, looking back", cx.run_id);
    let mut session = Session::open(address, None, Access::Run(&name), &cx.cancel)?;
    session.begin()?;
    lock::wait(&session, table)?;
    // What the lock was waited for is seen by a statement that comes after it.
    Ok(match runs::knows(&session, &cx.run_id)? {
        true => Fate::Committed,
        false => Fate::RolledBack,
    })
}

/// Returns whether an earlier run was committed.
///
/// Fails, busy, while its transaction still goes on.
pub(crate) fn look_back(address: &Address, table: &str, run_id: &str) -> Result<bool> {
    let session = Session::open(address, None, Access::Read, &CancelToken::never())?;
    lock::check_free(&session, table)?;
    // What the lock was looked at for is seen by a statement that comes after it.
    runs::knows(&session, run_id)
}

/// Turns what a driver said of a commit, and what is there, into what a run says.
pub(crate) fn judged(trouble: Error, fate: Result<Fate>) -> Result<Vec<String>> {
    match fate {
        Ok(Fate::Committed) => Ok(vec![format!(
            "the rows are committed, although the database did not say so: {}",
            trouble.in_a_line()
        )]),
        Ok(Fate::RolledBack) => Err(trouble),
        Err(error) => {
            log::warn!("cannot look for the rows: {}", error.in_a_line());
            Err(trouble
                .hint("run it again when the database is back: the next run into the table looks for this one in `_mixflow_runs`, and says what became of it")
                .in_doubt())
        }
    }
}

#[cfg(test)]
mod tests {
    use mixflow_core::ErrorKind;

    use super::*;

    #[test]
    fn what_nobody_knows_is_in_doubt() {
        let trouble = || Error::new(ErrorKind::Network, "the connection is gone");
        let committed = judged(trouble(), Ok(Fate::Committed)).expect("it was");
        assert!(committed[0].contains("the connection is gone"));
        let error = judged(trouble(), Ok(Fate::RolledBack)).expect_err("it was not");
        assert!(!error.is_in_doubt());
        let unknown = judged(trouble(), Err(trouble())).expect_err("nobody knows");
        assert!(unknown.is_in_doubt());
    }
}
