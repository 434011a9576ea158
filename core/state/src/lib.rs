//! What mixflow remembers from run to run: the history of runs, the commits of
//! which nobody knows yet whether they were made, the requests that count for a
//! quota, what bodies earlier runs have left, and what destinations hold whose
//! sinks keep no ledger.
//!
//! It is all in `state.db`, an SQLite database in the state folder, which any
//! number of processes share and any of them may leave at any moment. Nothing
//! of it is needed to run: whoever cannot use it is told [`Unavailable`], goes
//! on without, and a person is told once, by what
//! [`State::take_warnings`] returns.
//!
//! [`Locks`] of destinations are not in it: they are locked files, which the
//! system unlocks for a process that dies.

#![forbid(unsafe_code)]

mod checkpoints;
mod damage;
mod doubts;
mod failure;
mod file;
mod gaps;
mod history;
mod identity;
mod import;
mod ledger;
mod locks;
mod migrate;
mod place;
mod quota;
mod store;
#[cfg(test)]
mod tests;
mod turn;

pub use checkpoints::Checkpoint;
pub use doubts::Doubt;
pub use failure::Unavailable;
pub use history::{Begin, LastRuns, Origin, PastRun};
pub use identity::{is_lockable, is_one, place, real};
pub use locks::{Held, Locks, Tried};
pub use store::State;
