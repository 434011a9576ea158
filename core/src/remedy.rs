//! Ways out of an error that whoever reports it says in its own terms.

use std::fmt;

/// What can be done about an error.
///
/// Shown in the terms of a pipeline file and of this library; the command line
/// names its flags instead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Let a replacement leave much less than there was.
    AllowShrink,
    /// Wait until somebody else is done with the destination.
    Wait,
    /// Give a query more memory.
    MoreMemory,
    /// Name a database that is there.
    NameDatabase,
    /// See which tables there are.
    ListTables,
    /// Give a parameter of a query a value.
    GiveParameter(
        /// Its name, without `$`.
        String,
    ),
    /// Drop a table, or choose another name or mode.
    DropOrChoose {
        /// The table that is there.
        table: String,
        /// The database that it is in.
        database: String,
    },
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Remedy::AllowShrink => {
                "look at why rows are gone; if that is right, set `allow_shrink = true`"
            }
            Remedy::Wait => "run it later",
            Remedy::MoreMemory => "give it more memory, or ask for less at once",
            Remedy::NameDatabase => "name another database, or fetch something into it first",
            Remedy::ListTables => "list the tables that there are",
            Remedy::GiveParameter(name) => return write!(f, "give `{name}` a value"),
            Remedy::DropOrChoose { table, database } => {
                return write!(
                    f,
                    "drop `{table}` in `{database}` first, choose another name, or set `mode` to `append`, `replace` or `replace_window`"
                );
            }
        })
    }
}
