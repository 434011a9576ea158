//! Databases that have an ADBC driver: PostgreSQL, SQLite and others.

#![forbid(unsafe_code)]

mod dialect;
mod failure;
mod place;
