//! How a database is spoken to: quoting, types, and the few words in which
//! databases differ.

use std::borrow::Cow;
use std::path::Path;

use arrow::datatypes::{DataType, Field, TimeUnit};
use jiff::Timestamp;
use mixflow_core::batch::is_json;
use mixflow_core::{Error, ErrorKind, Result};

/// The databases whose own words are known. All others get standard SQL, and
/// are not relied upon for transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    Sqlite,
    Duckdb,
    Other,
}

/// What Postgres cuts names to, without an error.
const POSTGRES_NAME: usize = 63;

impl Dialect {
    /// Returns the dialect of a driver, by the name of its manifest or library.
    pub(crate) fn of_driver(driver: &str) -> Dialect {
        let name = Path::new(driver).file_name().unwrap_or_default();
        let name = name.to_string_lossy().to_lowercase();
        let known = [
            ("postgres", Dialect::Postgres),
            ("sqlite", Dialect::Sqlite),
            ("duckdb", Dialect::Duckdb),
        ];
        let found = known.iter().find(|(part, _)| name.contains(part));
        found.map_or(Dialect::Other, |(_, dialect)| *dialect)
    }

    /// Whether a run can be one transaction, tables that are made and dropped
    /// included.
    pub(crate) fn is_transactional(self) -> bool {
        self != Dialect::Other
    }

    /// Whether a database is a file of this machine.
    pub(crate) fn is_file(self) -> bool {
        matches!(self, Dialect::Sqlite | Dialect::Duckdb)
    }

    /// Returns an identifier that SQL reads as exactly this name.
    pub(crate) fn quoted(self, name: &str) -> String {
        format!("\"{}\"", self.name(name).replace('"', "\"\""))
    }

    /// Returns the name that a column or table has in the database. One that is
    /// too long would be cut, and two of them might then be the same: so it
    /// ends in a hash.
    pub(crate) fn name(self, name: &str) -> Cow<'_, str> {
        if self != Dialect::Postgres || name.len() <= POSTGRES_NAME {
            return Cow::Borrowed(name);
        }
        const HASHED: usize = 9;
        let end = (0..=POSTGRES_NAME - HASHED)
            .rev()
            .find(|end| name.is_char_boundary(*end))
            .unwrap_or_default();
        let hash = xxhash_rust::xxh3::xxh3_64(name.as_bytes()) as u32;
        Cow::Owned(format!("{}_{hash:08x}", &name[..end]))
    }

    /// Returns a text as SQL has it.
    pub(crate) fn literal(self, text: &str) -> String {
        let text = text.replace('\'', "''");
        match self {
            // Some read a backslash as the beginning of something else.
            Dialect::Other => format!("'{}'", text.replace('\\', "\\\\")),
            _ => format!("'{text}'"),
        }
    }

    /// Returns an instant, in microseconds since 1970 (UTC), as SQL has it.
    pub(crate) fn instant(self, us: i64) -> Result<String> {
        let time = Timestamp::from_microsecond(us).map_err(|error| {
            Error::new(ErrorKind::Data, "a day is in no year that there is").with_source(error)
        })?;
        let shown = |format: &str| time.strftime(format).to_string();
        Ok(match self {
            Dialect::Postgres => format!("TIMESTAMPTZ '{}+00'", shown("%Y-%m-%d %H:%M:%S%.6f")),
            // As its driver writes them.
            Dialect::Sqlite => format!("'{}'", shown("%Y-%m-%dT%H:%M:%S%.6f")),
            Dialect::Duckdb | Dialect::Other => {
                format!("TIMESTAMP '{}'", shown("%Y-%m-%d %H:%M:%S%.6f"))
            }
        })
    }

    /// Returns the UTC day of a column of times, as text.
    pub(crate) fn day_of(self, column: &str) -> String {
        match self {
            Dialect::Postgres => format!("to_char({column}, 'YYYY-MM-DD')"),
            Dialect::Sqlite => format!("substr({column}, 1, 10)"),
            Dialect::Duckdb | Dialect::Other => {
                format!("CAST(CAST({column} AS DATE) AS VARCHAR)")
            }
        }
    }

    /// Returns the column that tells a row from all others, while a
    /// transaction lasts.
    pub(crate) fn row_id(self) -> Option<&'static str> {
        match self {
            Dialect::Postgres => Some("ctid"),
            Dialect::Sqlite | Dialect::Duckdb => Some("rowid"),
            Dialect::Other => None,
        }
    }

    /// Returns the type of texts that may be long.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Dialect::Postgres | Dialect::Sqlite => "TEXT",
            Dialect::Duckdb | Dialect::Other => "VARCHAR",
        }
    }

    /// Returns the type of instants.
    pub(crate) fn time(self) -> &'static str {
        match self {
            Dialect::Postgres => "TIMESTAMP WITH TIME ZONE",
            _ => "TIMESTAMP",
        }
    }

    /// Returns the SQL type of a column, or says that there is none.
    pub(crate) fn sql_type(self, field: &Field) -> Result<&'static str> {
        let microseconds = |unit: &TimeUnit| *unit == TimeUnit::Microsecond;
        let found = match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 if is_json(field) => Some(self.json()),
            DataType::Utf8 | DataType::LargeUtf8 => Some(self.text()),
            DataType::Timestamp(unit, _) if microseconds(unit) => Some(self.time()),
            DataType::Boolean => Some("BOOLEAN"),
            DataType::Date32 => Some("DATE"),
            DataType::Int64 => Some(match self {
                Dialect::Sqlite => "INTEGER",
                _ => "BIGINT",
            }),
            DataType::Float64 => Some(match self {
                Dialect::Sqlite => "REAL",
                Dialect::Duckdb => "DOUBLE",
                _ => "DOUBLE PRECISION",
            }),
            other => self.rarer(other),
        };
        found.ok_or_else(|| {
            let (name, kind) = (field.name(), field.data_type());
            let message =
                format!("the column `{name}` has the type {kind}, which this database cannot take");
            Error::new(ErrorKind::Config, message)
        })
    }

    /// Returns the type of what no source of ours gives, but a sink may get.
    fn rarer(self, kind: &DataType) -> Option<&'static str> {
        Some(match (self, kind) {
            (Dialect::Other, _) => return None,
            (Dialect::Sqlite, DataType::Int8 | DataType::Int16 | DataType::Int32) => "INTEGER",
            (Dialect::Sqlite, DataType::UInt8 | DataType::UInt16 | DataType::UInt32) => "INTEGER",
            (Dialect::Sqlite, DataType::Float32) => "REAL",
            (Dialect::Postgres, DataType::Binary) => "BYTEA",
            (_, DataType::Binary) => "BLOB",
            (_, DataType::Int16) => "SMALLINT",
            (_, DataType::Int32) => "INTEGER",
            (_, DataType::Float32) => "REAL",
            _ => return None,
        })
    }

    /// Returns the type of JSON; text, where there is none.
    fn json(self) -> &'static str {
        match self {
            Dialect::Postgres => "JSONB",
            // A name with TEXT in it: SQLite would make a number of `1` in a
            // column of a type that it does not know.
            Dialect::Sqlite => "JSON_TEXT",
            Dialect::Duckdb => "JSON",
            Dialect::Other => "VARCHAR",
        }
    }

    /// Returns whether a column of the type `has` takes what would be written
    /// into a new one of the type `wanted`.
    pub(crate) fn accepts(self, has: &str, wanted: &str) -> bool {
        let has = has.to_uppercase();
        if has == wanted {
            return true;
        }
        let begins = |names: &[&str]| names.iter().any(|name| has.starts_with(name));
        match (self, wanted) {
            (Dialect::Postgres, "TEXT") => begins(&["CHARACTER VARYING", "CITEXT"]),
            (Dialect::Postgres, "JSONB") => has == "JSON" || has == "TEXT",
            (Dialect::Postgres, "TIMESTAMP WITH TIME ZONE") => begins(&["TIMESTAMP"]),
            (Dialect::Sqlite, "TEXT") => begins(&["VARCHAR", "CHAR", "CLOB", "NVARCHAR"]),
            (Dialect::Sqlite, "JSON_TEXT") => begins(&["TEXT", "JSONTEXT", "VARCHAR", "CLOB"]),
            (Dialect::Sqlite, "INTEGER") => begins(&["INT", "BIGINT"]),
            (Dialect::Sqlite, "REAL") => begins(&["DOUBLE", "FLOAT"]),
            (Dialect::Sqlite, "BOOLEAN") => begins(&["BOOL", "INTEGER"]),
            (Dialect::Sqlite, "TIMESTAMP") => begins(&["DATETIME", "TEXT"]),
            (Dialect::Sqlite, "DATE") => has == "TEXT",
            (Dialect::Duckdb, "JSON") => has == "VARCHAR",
            (Dialect::Duckdb, "TIMESTAMP") => has == "TIMESTAMP WITH TIME ZONE",
            // What a driver tells of types may be a guess by what is there.
            (Dialect::Other, _) => true,
            _ => false,
        }
    }

    /// Returns the column that a run would make, by a type of the database's;
    /// one of no type, if a run makes none such.
    pub(crate) fn field_of(self, name: &str, kind: &str) -> Field {
        let kind = kind.to_uppercase();
        let is = |wanted: &str| kind == wanted;
        if is(self.json()) && self != Dialect::Other {
            return mixflow_core::batch::json_field(name, true);
        }
        let found = if is(self.text()) {
            DataType::Utf8
        } else if is(self.time()) {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        } else {
            match kind.as_str() {
                "BIGINT" => DataType::Int64,
                "INTEGER" if self == Dialect::Sqlite => DataType::Int64,
                "REAL" if self == Dialect::Sqlite => DataType::Float64,
                "DOUBLE" | "DOUBLE PRECISION" => DataType::Float64,
                "BOOLEAN" => DataType::Boolean,
                "DATE" => DataType::Date32,
                // Its name is taken all the same.
                _ => DataType::Null,
            }
        };
        Field::new(name, found, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_leave_their_quotes() {
        let evil = "x\"; DROP TABLE events; --";
        assert_eq!(
            Dialect::Postgres.quoted(evil),
            "\"x\"\"; DROP TABLE events; --\""
        );
        assert_eq!(Dialect::Sqlite.literal("it's; --"), "'it''s; --'");
        assert_eq!(Dialect::Other.literal("\\'"), "'\\\\'''");
    }

    #[test]
    fn long_names_stay_apart() {
        let (one, other) = ("é".repeat(40) + "a", "é".repeat(40) + "b");
        let cut = |name: &str| Dialect::Postgres.name(name).into_owned();
        assert_ne!(cut(&one), cut(&other));
        assert!(cut(&one).len() <= POSTGRES_NAME);
        assert_eq!(cut("short"), "short");
        assert_eq!(Dialect::Sqlite.name(&one), one);
    }

    #[test]
    fn a_driver_is_known_by_its_name_or_file() {
        for (driver, dialect) in [
            ("postgresql", Dialect::Postgres),
            ("/a/b/libadbc_driver_postgresql.so", Dialect::Postgres),
            ("adbc_driver_sqlite", Dialect::Sqlite),
            ("/usr/lib/libduckdb.so", Dialect::Duckdb),
            ("/postgres/libadbc_driver_snowflake.so", Dialect::Other),
        ] {
            assert_eq!(Dialect::of_driver(driver), dialect, "{driver}");
        }
    }

    #[test]
    fn instants_are_in_utc() {
        let us = 1_704_067_200_123_456;
        assert_eq!(
            Dialect::Postgres.instant(us).expect("a year"),
            "TIMESTAMPTZ '2024-01-01 00:00:00.123456+00'"
        );
        assert_eq!(
            Dialect::Sqlite.instant(-1).expect("a year"),
            "'1969-12-31T23:59:59.999999'"
        );
    }
}
