//! Databases that are no DuckDB files, asked by `tables`, `schema`, `metadata`
//! and `query`.

use mixflow::databases::Database;
use mixflow::duckdb::sql::{parameters, statements, with_values};
use mixflow_core::ledger::Holding;
use mixflow_core::remedy::Remedy;
use mixflow_core::{Error, ErrorKind, Result};

use super::query::{QueryArgs, how, text};
use super::tables::{Listed, TableArgs, TablesArgs, columns, listed, shown};
use crate::app::App;
use crate::args::DbArg;
use crate::interrupt::{EndsAtSignals, token};
use crate::output;

fn open(app: &App, db: &DbArg) -> Result<Database> {
    let _signals = EndsAtSignals::from_now();
    Database::open(db.uri().unwrap_or_default(), &app.env, &token())
}

pub(super) fn tables(app: &App, args: &TablesArgs) -> Result<()> {
    let tables = open(app, &args.db)?.tables()?.into_iter();
    let tables = tables.map(|table| Listed {
        kind: match &table.metadata {
            Some(known) => known.data_type.clone(),
            None if table.is_view => "view".to_owned(),
            None => "table".to_owned(),
        },
        table_name: table.table_name,
        row_count: Some(table.row_count),
        known: table.metadata,
    });
    listed(&tables.collect::<Vec<_>>(), &args.show)
}

pub(super) fn schema(app: &App, args: &TableArgs) -> Result<()> {
    columns(&open(app, &args.db)?.schema(&args.table)?, &args.show)
}

pub(super) fn metadata(app: &App, args: &TableArgs) -> Result<()> {
    shown(&open(app, &args.db)?.metadata(&args.table)?, &args.show)
}

pub(super) fn holdings(app: &App, db: &DbArg, table: Option<&str>) -> Result<Vec<Holding>> {
    open(app, db)?.holdings(table)
}

pub(super) fn query(app: &App, args: &QueryArgs) -> Result<()> {
    let (sql, _) = text(args)?;
    let (whole, rest) = statements(&sql);
    let n = whole.len() + usize::from(!rest.is_empty());
    if n > 1 {
        // SQLite's driver would answer the first, and leave the others out.
        let error = Error::new(ErrorKind::Query, "cannot answer the query");
        return Err(error
            .because(format!("it has {n} statements"))
            .hint("ask one at a time, each with a `mixflow query` of its own"));
    }
    let sql = filled(&sql, &args.params)?;
    let mut database = open(app, &args.db)?;
    let answer = database.query(&sql)?;
    if args.scalar {
        app.ui.out(&(output::scalar(answer)? + "\n"));
        return Ok(());
    }
    output::write(&how(&args.show), &answer.schema(), answer)
}

/// Puts texts in the place of the parameters of a query.
fn filled(sql: &str, params: &[(String, String)]) -> Result<String> {
    let value = |name: &str| {
        let found = params
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    let names = parameters(sql);
    if let Some(name) = names.iter().find(|name| value(name).is_none()) {
        let message = format!("the query has a parameter `${name}` that has no value");
        return Err(Error::new(ErrorKind::Query, message)
            .with_remedy(Remedy::GiveParameter((*name).to_owned())));
    }
    let is_there = |key: &str| names.iter().any(|name| name.eq_ignore_ascii_case(key));
    if let Some((key, _)) = params.iter().find(|(key, _)| !is_there(key)) {
        let message = format!("the query has no parameter `${key}`");
        return Err(Error::new(ErrorKind::Query, message));
    }
    Ok(with_values(sql, value))
}
