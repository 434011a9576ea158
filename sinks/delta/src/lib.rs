//! Delta Lake: a folder of Parquet files, and a log that says which of them count.
//!
//! A run writes its files where they are read from, and no reader sees them before
//! one commit names them: a file `_delta_log/….json` that is there or is not. The
//! commit also says which files of before go, which run it is, and what the table
//! holds from now on, day by day. The transaction log is read and written by
//! `delta_kernel`, the library of those who keep the format.

#![forbid(unsafe_code)]

#![allow(dead_code, reason = "the sink itself follows")]

mod check;
mod columns;
mod commit;
mod failed;
mod files;
mod going;
mod leftovers;
mod ledger;
mod names;
mod place;
mod rewrite;
mod runs;
mod table;
