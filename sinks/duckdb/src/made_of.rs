//! The table `_mixflow_columns`: what columns were made of.
//!
//! A column keeps its name when it is gone: the property that it was made of gets
//! it again, also from a run that replaces the table.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use duckdb::{Connection, params};
use mixflow_core::Result;
use mixflow_core::batch::json_field;
use mixflow_core::ledger::DATASET_COLUMN;
use mixflow_core::made_of::{Existing, made_of, with_made_of};

use crate::columns::{Relation, columns_of, find};
use crate::open::failed;

const TABLE: &str = "_mixflow_columns";

/// Returns what a table has of columns; `stay` says whether its rows do.
pub(crate) fn existing(connection: &Connection, table: &str, stay: bool) -> Result<Existing> {
    let known = read(connection, table)?;
    let columns = match stay && find(connection, table)? == Relation::Table {
        true => columns_of(connection, table)?,
        false => Vec::new(),
    };
    let columns = columns
        .into_iter()
        .filter(|(name, _)| name != DATASET_COLUMN);
    let columns = columns.map(|(name, kind)| {
        let field = field_of(&name, &kind);
        match known.iter().find(|(_, column)| *column == name) {
            Some((made_of, _)) => with_made_of(field, made_of),
            None => field,
        }
    });
    Ok(Existing {
        columns: columns.collect(),
        names: known,
    })
}

/// Returns the column that a run would make, if it is of a type that it makes.
fn field_of(name: &str, kind: &str) -> Field {
    let kind = match kind {
        "JSON" => return json_field(name, true),
        "VARCHAR" => DataType::Utf8,
        "BIGINT" => DataType::Int64,
        "DOUBLE" => DataType::Float64,
        "BOOLEAN" => DataType::Boolean,
        "TIMESTAMP" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "DATE" => DataType::Date32,
        // Its name is taken all the same.
        _ => DataType::Null,
    };
    Field::new(name, kind, true)
}

/// Returns what columns were made of, each with the column's name.
fn read(connection: &Connection, table: &str) -> Result<Vec<(String, String)>> {
    if find(connection, TABLE)? == Relation::None {
        return Ok(Vec::new());
    }
    let what = "look up what columns were made of";
    let sql = format!(
        "SELECT made_of, column_name FROM {TABLE} \
         WHERE lower(table_name) = lower(?) ORDER BY made_of, column_name"
    );
    let mut statement = connection.prepare(&sql).map_err(failed(what))?;
    statement
        .query_map(params![table], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(failed(what))
}

/// Notes what the columns of a run were made of, inside the caller's transaction.
pub(crate) fn record(connection: &Connection, table: &str, schema: &Schema) -> Result<()> {
    let fields = schema.fields().iter();
    let made: Vec<(&str, &str)> = fields
        .filter_map(|field| Some((made_of(field)?, field.name().as_str())))
        .collect();
    if made.is_empty() {
        return Ok(());
    }
    let what = format!("note what the columns of `{table}` were made of");
    connection
        .execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {TABLE} \
             (table_name VARCHAR, column_name VARCHAR, made_of VARCHAR)"
        ))
        .map_err(failed(&what))?;
    let known = read(connection, table)?;
    let is_known = |(path, name): &(&str, &str)| known.iter().any(|(p, n)| p == path && n == name);
    for (path, name) in made.into_iter().filter(|pair| !is_known(pair)) {
        // Of a column that is made of something else now, that counts.
        connection
            .execute(
                &format!(
                    "DELETE FROM {TABLE} WHERE lower(table_name) = lower(?) \
                     AND lower(column_name) = lower(?)"
                ),
                params![table, name],
            )
            .and_then(|_| {
                let insert = format!("INSERT INTO {TABLE} VALUES (?, ?, ?)");
                connection.execute(&insert, params![table, name, path])
            })
            .map_err(failed(&what))?;
    }
    Ok(())
}

/// Forgets the columns of a table.
pub(crate) fn forget(connection: &Connection, table: &str) -> Result<()> {
    if find(connection, TABLE)? == Relation::None {
        return Ok(());
    }
    connection
        .execute(
            &format!("DELETE FROM {TABLE} WHERE lower(table_name) = lower(?)"),
            params![table],
        )
        .map(drop)
        .map_err(failed("forget what columns were made of"))
}
