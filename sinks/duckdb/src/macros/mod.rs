//! Table macros for who asks the database: what is asked again and again of
//! events, as plain SQL that any DuckDB from 1.2 on runs.
//!
//! They stand in the database, and read their tables by name when they are asked:
//! a table may be replaced, or get more columns. Each has a comment with a mark of
//! its text, by which ours are known and renewed. Those of others are left alone.

use duckdb::Connection;
use mixflow_core::Result;
use mixflow_core::text::hex;
use sha2::{Digest, Sha256};

use crate::open::failed;

/// A macro of ours.
struct Macro {
    name: &'static str,
    /// What it answers, for who lists the functions of the database.
    about: &'static str,
    sql: &'static str,
}

const MACROS: [Macro; 5] = [
    Macro {
        name: "mf_daily",
        about: "rows and people of each day, of one event or of all (NULL)",
        sql: include_str!("daily.sql"),
    },
    Macro {
        name: "mf_funnel",
        about: "people who do steps one after the other within a time",
        sql: include_str!("funnel.sql"),
    },
    Macro {
        name: "mf_people",
        about: "events, each with the profile of its person",
        sql: include_str!("people.sql"),
    },
    Macro {
        name: "mf_retention",
        about: "people of each first day who come again so many days later",
        sql: include_str!("retention.sql"),
    },
    Macro {
        name: "mf_sessions",
        about: "sessions of each person, with at most a gap between two rows",
        sql: include_str!("sessions.sql"),
    },
];

/// How every mark begins.
const MARK: &str = "(mixflow ";

/// Leaves the macros in the database, inside the caller's transaction, unless
/// they are there as they are here. Returns what people should know.
pub(crate) fn leave(connection: &Connection) -> Result<Vec<String>> {
    let there = there(connection)?;
    let mut warnings = Vec::new();
    for each in &MACROS {
        let mut found = there.iter().filter(|(name, _)| name == each.name);
        let comment = each.comment();
        match found.next().map(|(_, comment)| comment.as_deref()) {
            Some(Some(same)) if same == comment => {}
            None => each.create(connection, &comment)?,
            Some(Some(older)) if older.contains(MARK) => each.create(connection, &comment)?,
            Some(_) => warnings.push(format!(
                "the macro `{}` is somebody else's and stays; rename it to have mixflow's, or set `macros = false`",
                each.name
            )),
        }
    }
    Ok(warnings)
}

/// Returns the macros that have names of ours, each with its comment.
fn there(connection: &Connection) -> Result<Vec<(String, Option<String>)>> {
    let what = "look up macros";
    let mut statement = connection
        .prepare(
            "SELECT lower(function_name), any_value(comment) FROM duckdb_functions() \
             WHERE database_name = current_database() AND schema_name = 'main' \
             AND function_type = 'table_macro' AND starts_with(lower(function_name), 'mf_') \
             GROUP BY 1",
        )
        .map_err(failed(what))?;
    statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(failed(what))
}

impl Macro {
    /// Returns its comment, which another text of it does not have.
    fn comment(&self) -> String {
        let digest = Sha256::digest(self.sql);
        let mark = hex(&digest[..4]);
        format!("{} {MARK}{mark})", self.about)
    }

    fn create(&self, connection: &Connection, comment: &str) -> Result<()> {
        let Macro { name, sql, .. } = self;
        connection
            .execute_batch(&format!(
                "{sql}; COMMENT ON MACRO TABLE {name} IS '{comment}'"
            ))
            .map_err(failed(&format!("make the macro `{name}`")))
    }
}
