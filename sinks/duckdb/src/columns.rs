//! Which DuckDB type a column gets, and what a table has.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use duckdb::{Connection, params};
use mixflow_core::batch::is_json;
use mixflow_core::fit::check_columns;
use mixflow_core::ledger::DATASET_COLUMN;
use mixflow_core::{Error, ErrorKind, Result};

use crate::open::failed;
use crate::sql::quoted;

/// Returns the SQL type of a column, or says that there is none.
pub(crate) fn sql_type(field: &Field) -> Result<&'static str> {
    let name = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 if is_json(field) => "JSON",
        DataType::Utf8 | DataType::LargeUtf8 => "VARCHAR",
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "UTINYINT",
        DataType::UInt16 => "USMALLINT",
        DataType::UInt32 => "UINTEGER",
        DataType::UInt64 => "UBIGINT",
        DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Date32 => "DATE",
        DataType::Binary => "BLOB",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP",
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        other => {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "the column `{}` has the type {other}, which a DuckDB table cannot take here",
                    field.name()
                ),
            ));
        }
    };
    Ok(name)
}

/// Which ways to compress a column the file's storage version has, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codecs {
    /// Not in files that were made by DuckDB 1.1 and before, or for it.
    zstd: bool,
    /// Not in those for DuckDB 1.3 and later, whose own choice has replaced it.
    fsst: bool,
}

impl Codecs {
    /// All that are of use.
    pub(crate) const ALL: Codecs = Codecs {
        zstd: true,
        fsst: true,
    };

    /// Returns those that are left when DuckDB has refused a table; `None` if it was
    /// not for one of them.
    pub(crate) fn without_refused(self, error: &Error) -> Option<Codecs> {
        let causes = error.causes();
        let says = |what| causes.iter().any(|cause| cause.contains(what));
        let left = Codecs {
            zstd: self.zstd && !says("not available yet"),
            fsst: self.fsst && !says("is deprecated"),
        };
        (left != self).then_some(left)
    }
}

/// Returns the columns of a `CREATE TABLE`, in parentheses.
pub(crate) fn definition(schema: &Schema, codecs: Codecs) -> Result<String> {
    let columns = schema.fields().iter();
    let columns = columns.map(|field| column_definition(field, codecs));
    Ok(format!(
        "({})",
        columns.collect::<Result<Vec<_>>>()?.join(", ")
    ))
}

/// Returns a column as `CREATE TABLE` and `ADD COLUMN` have it.
fn column_definition(field: &Field, codecs: Codecs) -> Result<String> {
    let name = quoted(field.name());
    let kind = sql_type(field)?;
    Ok(match compression(field, codecs) {
        Some(method) => format!("{name} {kind} USING COMPRESSION {method}"),
        None => format!("{name} {kind}"),
    })
}

/// Adds columns to a table; the rows that are there have null in them.
pub(crate) fn add_columns(
    connection: &Connection,
    table: &str,
    new: &[&Field],
    codecs: Codecs,
) -> Result<()> {
    for field in new {
        let column = column_definition(field, codecs)?;
        connection
            .execute_batch(&format!(
                "ALTER TABLE {} ADD COLUMN {column}",
                quoted(table)
            ))
            .map_err(failed(&format!(
                "add the column `{}` to `{table}`",
                field.name()
            )))?;
    }
    Ok(())
}

/// Returns how a column is compressed, where DuckDB's own choice is not the best.
///
/// For JSON it takes DICT_FSST. A million events of the sample: 4.2 s and
/// 167 MB with it, 2.6 s and 69 MB with zstd (one thread, insert from Parquet);
/// `properties->>'x'` over all of them takes 0.30 s instead of 0.25 s.
///
/// Of ids that are all different it tries a dictionary first, which it throws away: a
/// million of them take 0.33 s and 9.4 MB, with FSST at once 0.16 s and as much.
fn compression(field: &Field, codecs: Codecs) -> Option<&'static str> {
    if is_json(field) {
        codecs.zstd.then_some("zstd")
    } else if field.name() == "insert_id" && *field.data_type() == DataType::Utf8 {
        codecs.fsst.then_some("fsst")
    } else {
        None
    }
}

/// What stands under a name in a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    None,
    Table,
    View,
}

/// Looks a table up. DuckDB's names do not tell case apart.
pub(crate) fn find(connection: &Connection, table: &str) -> Result<Relation> {
    let mut statement = connection
        .prepare(
            "SELECT table_type FROM information_schema.tables \
             WHERE table_catalog = current_database() AND table_schema = 'main' \
             AND lower(table_name) = lower(?)",
        )
        .map_err(failed("look up tables"))?;
    let mut rows = statement
        .query(params![table])
        .map_err(failed("look up tables"))?;
    let row = rows.next().map_err(failed("look up tables"))?;
    let Some(row) = row else {
        return Ok(Relation::None);
    };
    let kind: String = row.get(0).map_err(failed("look up tables"))?;
    Ok(match kind.as_str() {
        "VIEW" => Relation::View,
        _ => Relation::Table,
    })
}

/// Returns whether a table has keys that no two of its rows share.
pub(crate) fn has_keys(connection: &Connection, table: &str) -> Result<bool> {
    connection
        .query_row(
            "SELECT count(*) > 0 FROM (\
                SELECT database_name, table_name FROM duckdb_indexes() WHERE is_unique \
                UNION ALL SELECT database_name, table_name FROM duckdb_constraints() \
                WHERE constraint_type IN ('PRIMARY KEY', 'UNIQUE')) \
             WHERE database_name = current_database() AND lower(table_name) = lower(?)",
            params![table],
            |row| row.get(0),
        )
        .map_err(failed("look up keys"))
}

/// Returns the columns of a table, each with its type.
pub(crate) fn columns_of(connection: &Connection, table: &str) -> Result<Vec<(String, String)>> {
    let what = "look up columns";
    let mut statement = connection
        .prepare(
            "SELECT column_name, data_type FROM information_schema.columns \
             WHERE table_catalog = current_database() AND table_schema = 'main' \
             AND lower(table_name) = lower(?) ORDER BY ordinal_position",
        )
        .map_err(failed(what))?;
    statement
        .query_map(params![table], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(failed(what))
}

/// Checks that rows of `schema` fit into a table that is there, and returns the
/// columns that it has to get for them.
pub(crate) fn check_fits<'s>(
    connection: &Connection,
    table: &str,
    schema: &'s Schema,
) -> Result<Vec<&'s Field>> {
    let has = columns_of(connection, table)?;
    let has: Vec<String> = has
        .into_iter()
        .filter(|(name, _)| name != DATASET_COLUMN)
        .map(|(name, kind)| format!("{} {kind}", name.to_lowercase()))
        .collect();
    let needs = schema
        .fields()
        .iter()
        .map(|field| {
            Ok(format!(
                "{} {}",
                field.name().to_lowercase(),
                sql_type(field)?
            ))
        })
        .collect::<Result<Vec<String>>>()?;
    let new = check_columns(&format!("the table `{table}`"), &has, &needs)?;
    Ok(new.into_iter().map(|n| schema.field(n)).collect())
}
