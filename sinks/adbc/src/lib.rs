//! Databases that have an ADBC driver: PostgreSQL, SQLite and others.

#![forbid(unsafe_code)]

mod columns;
mod dialect;
mod driver;
mod failure;
mod feed;
mod form;
mod ledger;
mod made_of;
mod mend;
mod place;
mod runs;
mod session;
