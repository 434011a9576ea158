//! Databases that have an ADBC driver: PostgreSQL, SQLite and others.

#![forbid(unsafe_code)]

mod columns;
mod dialect;
mod driver;
mod failure;
mod fate;
mod feed;
mod form;
mod ledger;
mod lock;
mod made_of;
mod mend;
mod old_rows;
mod outside;
mod place;
mod runs;
mod session;
mod statements;
mod swap;
mod target;
mod txn;
