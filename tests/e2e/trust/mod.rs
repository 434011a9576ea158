//! Whatever goes wrong, nothing is lost, doubled, or called whole that is not.

mod archive;
mod catch_up;
mod failures;
mod fits;
mod folders;
mod full_disk;
mod full_files;
mod full_state;
mod interrupts;
pub mod kills;
mod ledger;
mod locks;
pub mod matrix;
mod metrics;
mod notify;
mod readers;
mod recovery;
mod rejects;
mod shrink;
mod signals;
mod state;
mod waiting;
mod year;
