//! Databases that have an ADBC driver: PostgreSQL, SQLite and others.
//!
//! A driver is a library that somebody has installed; it takes Arrow batches and
//! knows its database. A run is one transaction of the database's, the ledger
//! included. Drivers are not relied upon: what was written is counted in the
//! database before it is committed, and whether it was committed is looked up.

#![forbid(unsafe_code)]

mod age;
mod asking;
mod columns;
mod dialect;
mod driver;
mod failure;
mod fate;
mod feed;
mod form;
mod keys;
mod ledger;
mod lock;
mod made_of;
mod mend;
mod old_rows;
mod outside;
mod place;
mod runs;
mod session;
mod shared;
mod sink;
mod statements;
mod swap;
mod target;
mod txn;

pub use asking::{Answer, Database, TableInfo, is_uri};
pub use mend::OnMismatch;
pub use sink::{AdbcOptions, AdbcSink};
pub use statements::Statements;

use mixflow_core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_core::sink::Sink;

/// What `mixflow components` shows of the sink.
pub const DOC: ComponentDoc = ComponentDoc {
    name: "adbc",
    about: "a table in a database that has an ADBC driver: PostgreSQL, SQLite and others",
    options: &[
        OptionDoc::new(
            "driver",
            "name or path, required",
            "the driver: the name of a manifest, such as postgresql, or the path of a library",
        ),
        OptionDoc::new(
            "uri",
            "secret",
            "where the database is: `{ env = \"DATABASE_URL\" }`, or the path of an SQLite file",
        ),
        OptionDoc::new("table", "name, default events or profiles", "the table"),
        OptionDoc::new(
            "schema",
            "name, default the user's own",
            "the schema that the table is in; made if it is not there",
        ),
        OptionDoc::new(
            "mode",
            "create | append | replace | replace_window, default create",
            "what happens to a table that is there",
        ),
        OptionDoc::new(
            "scope",
            "window | filter, default window",
            "with replace_window: whether all rows of the days go, or only those of the same filters",
        ),
        OptionDoc::new(
            "ddl",
            "SQL, or a list of it",
            "how a new table is made, with {table} for its name: keys, partitions, other types",
        ),
        OptionDoc::new(
            "options",
            "table of texts or secrets, default empty",
            "what the driver itself takes",
        ),
        OptionDoc::new(
            "on_mismatch",
            "mend | reject | fail, default mend",
            "what happens to a text that the database cannot hold, such as one with \\u0000",
        ),
        OptionDoc::new(
            "allow_shrink",
            "true | false, default false",
            "whether replace and replace_window may leave less than half of what is there",
        ),
    ],
};

/// Adds the sink of this crate to `registry`.
pub fn register(registry: &mut Registry) {
    registry
        .add_sink(DOC, |options: AdbcOptions, cx| {
            AdbcSink::new(options, cx).map(|sink| Box::new(sink) as Box<dyn Sink>)
        })
        .takes::<AdbcOptions>();
}
