//! The table `_mixflow_columns`: what columns were made of.
//!
//! A column keeps its name when it is gone: the property that it was made of gets
//! it again, also from a run that replaces the table.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use mixflow_core::Result;
use mixflow_core::made_of::{Existing, made_of, with_made_of};

use crate::columns::{Relation, columns_of, find};
use crate::ledger::{Cells, Kind, create, is_about, texts};
use crate::session::Session;

const TABLE: &str = "_mixflow_columns";

/// Returns what a table has of columns; `stay` says whether its rows do.
pub(crate) fn existing(session: &Session, table: &str, stay: bool) -> Result<Existing> {
    let known = read(session, table)?;
    let columns = match stay && find(session, table)? == Relation::Table {
        true => columns_of(session, table)?,
        false => Vec::new(),
    };
    let columns = columns.into_iter().map(|column| {
        let field = session.dialect.field_of(&column.name, &column.kind);
        match known.iter().find(|(_, name)| *name == column.name) {
            Some((made_of, _)) => with_made_of(field, made_of),
            None => field,
        }
    });
    Ok(Existing {
        columns: columns.collect(),
        names: known,
    })
}

/// Returns what columns were made of, each with the column's name.
fn read(session: &Session, table: &str) -> Result<Vec<(String, String)>> {
    if find(session, TABLE)? == Relation::None {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT made_of, column_name FROM {} WHERE {} ORDER BY made_of, column_name",
        session.table(TABLE),
        is_about(session, table)
    );
    let rows = session.rows("look up what columns were made of", &sql)?;
    let rows = rows.into_iter().map(|row| {
        let mut cells = Cells(row.into_iter());
        (cells.text(), cells.text())
    });
    Ok(rows.collect())
}

/// Notes what the columns of a run were made of, inside the caller's transaction.
pub(crate) fn record(session: &Session, table: &str, schema: &Schema) -> Result<()> {
    let fields = schema.fields().iter();
    let made = fields.filter_map(|field| {
        let name = session.dialect.name(field.name()).into_owned();
        Some((made_of(field)?.to_owned(), name))
    });
    let made: Vec<(String, String)> = made.collect();
    if made.is_empty() {
        return Ok(());
    }
    let what = format!("note what the columns of `{table}` were made of");
    let columns = ["table_name", "column_name", "made_of"];
    create(session, TABLE, &columns.map(|name| (name, Kind::Text)))?;
    let known = read(session, table)?;
    let new: Vec<_> = made
        .into_iter()
        .filter(|pair| !known.contains(pair))
        .collect();
    for (_, name) in &new {
        // Of a column that is made of something else now, that counts.
        let sql = format!(
            "DELETE FROM {} WHERE {} AND column_name = {}",
            session.table(TABLE),
            is_about(session, table),
            session.literal(name)
        );
        session.execute(&what, &sql)?;
    }
    let all = || new.iter();
    let rows = RecordBatch::try_from_iter([
        ("table_name", texts(all().map(|_| Some(table)))),
        (
            "column_name",
            texts(all().map(|(_, name)| Some(name.as_str()))),
        ),
        ("made_of", texts(all().map(|(path, _)| Some(path.as_str())))),
    ])?;
    session.insert(&what, TABLE, rows)
}
