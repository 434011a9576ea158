//! Databases that have an ADBC driver: PostgreSQL, SQLite and others.

#![forbid(unsafe_code)]

mod columns;
mod dialect;
mod driver;
mod failure;
mod form;
mod place;
mod session;
