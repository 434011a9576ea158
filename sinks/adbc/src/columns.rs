//! What tables there are, which columns they have, and whether rows fit in.

use adbc_core::error::Status;
use arrow::datatypes::{Field, Schema};
use mixflow_core::fit::check_columns;
use mixflow_core::{Error, ErrorKind, Result};

use crate::dialect::Dialect;
use crate::session::Session;

/// What stands under a name in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    None,
    Table,
    /// A view, or something else that takes no rows.
    View,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Its SQL type, as the database writes it.
    pub(crate) kind: String,
    /// Whether it may be left out of a row, because the database fills it.
    pub(crate) fills_itself: bool,
}

const WHAT: &str = "look up tables";

/// Looks a table up.
pub(crate) fn find(session: &Session, table: &str) -> Result<Relation> {
    let name = session.literal(&session.dialect.name(table));
    let kind = match session.dialect {
        Dialect::Postgres => session.one(
            WHAT,
            &format!(
                "SELECT CASE WHEN c.relkind IN ('r', 'p') THEN 'table' ELSE 'view' END \
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
                 ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = {name} \
                 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
                schema_of(session)
            ),
        )?,
        Dialect::Sqlite => session.one(
            WHAT,
            &format!(
                "SELECT type FROM sqlite_master WHERE lower(name) = lower({name}) \
                 AND type IN ('table', 'view')"
            ),
        )?,
        Dialect::Duckdb => session.one(
            WHAT,
            &format!(
                "SELECT CASE WHEN table_type = 'VIEW' THEN 'view' ELSE 'table' END \
                 FROM information_schema.tables WHERE table_catalog = current_database() \
                 AND table_schema = {} AND lower(table_name) = lower({name})",
                schema_of(session)
            ),
        )?,
        Dialect::Other => match session.described(table) {
            Ok(_) => Some("table".to_owned()),
            Err(error) if error.status == Status::NotFound => None,
            // Drivers say it in their own way.
            Err(error) if is_unknown(&error.message) => None,
            Err(error) => return Err(session.secrets.failed(WHAT)(error)),
        },
    };
    Ok(match kind.as_deref() {
        None => Relation::None,
        Some("table") => Relation::Table,
        Some(_) => Relation::View,
    })
}

fn is_unknown(message: &str) -> bool {
    let message = message.to_lowercase();
    let words = [
        "no such table",
        "does not exist",
        "not found",
        "notfound",
        "no column",
    ];
    words.iter().any(|words| message.contains(words))
}

/// Returns the schema that tables are in, as a text in SQL.
fn schema_of(session: &Session) -> String {
    match &session.schema {
        Some(schema) => session.literal(schema),
        None => "current_schema()".to_owned(),
    }
}

/// Returns the columns of a table, in their order.
pub(crate) fn columns_of(session: &Session, table: &str) -> Result<Vec<Column>> {
    let what = "look up columns";
    let name = session.literal(&session.dialect.name(table));
    let sql = match session.dialect {
        Dialect::Postgres => format!(
            "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), \
             (a.atthasdef OR a.attidentity <> '')::text \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relname = {name} AND a.attnum > 0 \
             AND NOT a.attisdropped ORDER BY a.attnum",
            schema_of(session)
        ),
        Dialect::Sqlite => format!(
            "SELECT name, type, CASE WHEN dflt_value IS NOT NULL OR (pk > 0 AND \
             upper(type) = 'INTEGER') THEN 'true' ELSE 'false' END FROM pragma_table_info({name})"
        ),
        Dialect::Duckdb => format!(
            "SELECT column_name, data_type, CASE WHEN column_default IS NOT NULL THEN 'true' \
             ELSE 'false' END FROM information_schema.columns \
             WHERE table_catalog = current_database() AND table_schema = {} \
             AND lower(table_name) = lower({name}) ORDER BY ordinal_position",
            schema_of(session)
        ),
        Dialect::Other => return described(session, table, what),
    };
    let rows = session.rows(what, &sql)?.into_iter();
    let columns = rows.map(|row| {
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || cells.next().unwrap_or_default();
        Column {
            name: next(),
            kind: next(),
            fills_itself: next() == "true",
        }
    });
    Ok(columns.collect())
}

/// Returns the names of a table's columns whose values may be NULL.
pub(crate) fn nullable(session: &Session, table: &str) -> Result<Vec<String>> {
    let name = session.literal(&session.dialect.name(table));
    let sql = match session.dialect {
        Dialect::Sqlite => {
            format!("SELECT name FROM pragma_table_info({name}) WHERE NOT \"notnull\"")
        }
        _ => format!(
            "SELECT column_name::text FROM information_schema.columns WHERE table_schema = {} \
             AND table_name = {name} AND is_nullable = 'YES'",
            schema_of(session)
        ),
    };
    let rows = session.rows("look up columns", &sql)?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

/// Returns the columns as a driver describes them, each with the type that we
/// would have given it.
fn described(session: &Session, table: &str, what: &str) -> Result<Vec<Column>> {
    let schema = session
        .described(table)
        .map_err(session.secrets.failed(what))?;
    let fields = schema.fields().iter();
    let columns = fields.map(|field| Column {
        name: field.name().clone(),
        kind: match session.dialect.sql_type(field) {
            Ok(kind) => kind.to_owned(),
            Err(_) => field.data_type().to_string(),
        },
        fills_itself: false,
    });
    Ok(columns.collect())
}

/// Returns the columns of a `CREATE TABLE`, in parentheses.
pub(crate) fn definition(dialect: Dialect, schema: &Schema) -> Result<String> {
    let columns = schema.fields().iter();
    let columns = columns.map(|field| column_definition(dialect, field));
    Ok(format!(
        "({})",
        columns.collect::<Result<Vec<_>>>()?.join(", ")
    ))
}

/// Returns a column as `CREATE TABLE` and `ADD COLUMN` have it.
fn column_definition(dialect: Dialect, field: &Field) -> Result<String> {
    let name = dialect.quoted(field.name());
    Ok(format!("{name} {}", dialect.sql_type(field)?))
}

/// Adds columns to a table; the rows that are there have null in them.
pub(crate) fn add_columns(session: &Session, table: &str, new: &[Field]) -> Result<()> {
    for field in new {
        let column = column_definition(session.dialect, field)?;
        let what = format!("add the column `{}` to `{table}`", field.name());
        let sql = format!("ALTER TABLE {} ADD COLUMN {column}", session.table(table));
        session.execute(&what, &sql)?;
    }
    Ok(())
}

/// Checks that rows of `schema` fit into a table that is there, and returns the
/// columns that it has to get for them.
pub(crate) fn check_fits(session: &Session, table: &str, schema: &Schema) -> Result<Vec<Field>> {
    let dialect = session.dialect;
    let found = columns_of(session, table)?;
    let same = |one: &str, other: &str| match dialect {
        Dialect::Postgres => one == other,
        _ => one.eq_ignore_ascii_case(other),
    };
    let mut needs = Vec::new();
    for field in schema.fields() {
        let name = dialect.name(field.name());
        needs.push((name.into_owned(), dialect.sql_type(field)?.to_owned()));
    }
    let mut has = Vec::new();
    for column in found {
        let wanted = needs.iter().find(|(name, _)| same(name, &column.name));
        match wanted {
            Some((name, kind)) if dialect.accepts(&column.kind, kind) => {
                has.push(format!("{name} {kind}"));
            }
            // What the database fills is nobody's business.
            None if column.fills_itself => {}
            Some((name, _)) => has.push(format!("{name} {}", column.kind.to_uppercase())),
            None => has.push(format!("{} {}", column.name, column.kind.to_uppercase())),
        }
    }
    let needs: Vec<String> = needs
        .iter()
        .map(|(name, kind)| format!("{name} {kind}"))
        .collect();
    let new = check_columns(&format!("the table `{table}`"), &has, &needs)?;
    Ok(new.into_iter().map(|n| schema.field(n).clone()).collect())
}

/// Returns whether a table has keys that no two of its rows share.
pub(crate) fn has_keys(session: &Session, table: &str) -> Result<bool> {
    let what = "look up keys";
    let name = session.literal(&session.dialect.name(table));
    let sql = match session.dialect {
        Dialect::Postgres => format!(
            "SELECT count(*) FROM pg_catalog.pg_index i \
             JOIN pg_catalog.pg_class c ON c.oid = i.indrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relname = {name} AND (i.indisunique OR i.indisexclusion)",
            schema_of(session)
        ),
        // A table without row ids counts as well: nothing else tells new rows.
        Dialect::Sqlite => format!(
            "SELECT (SELECT count(*) FROM pragma_index_list({name}) WHERE \"unique\") + \
             (SELECT count(*) FROM pragma_table_info({name}) WHERE pk > 0)"
        ),
        Dialect::Duckdb => format!(
            "SELECT count(*) FROM duckdb_constraints() WHERE \
             constraint_type IN ('PRIMARY KEY', 'UNIQUE') AND lower(table_name) = lower({name})"
        ),
        Dialect::Other => return Ok(true),
    };
    Ok(session.count(what, &sql)? > 0)
}

/// Fails for columns that no table of the database can have.
pub(crate) fn check_columns_of_rows(dialect: Dialect, schema: &Schema) -> Result<()> {
    let mut names: Vec<String> = Vec::new();
    for field in schema.fields() {
        dialect.sql_type(field)?;
        let name = dialect.name(field.name());
        let name = match dialect {
            Dialect::Postgres => name.into_owned(),
            _ => name.to_lowercase(),
        };
        if name.is_empty() || name.contains('\0') {
            let message = format!("no column can be called `{}`", field.name().escape_debug());
            return Err(Error::new(ErrorKind::Config, message)
                .hint("give it another name, such as with `rename`"));
        }
        if names.contains(&name) {
            let message = format!(
                "the column `{}` is there twice for this database",
                field.name()
            );
            return Err(Error::new(ErrorKind::Config, message)
                .hint("give one of them another name, such as with `rename`"));
        }
        names.push(name);
    }
    Ok(())
}
