//! Tables that several datasets share: with `scope = "filter"` a column says whose a
//! row is.

use std::sync::Arc;

use mixflow_core::Result;
use mixflow_core::ledger::{DATASET_COLUMN, Scope, check_scope, is_shared, with_dataset_column};
use mixflow_core::sink::TxnContext;
use mixflow_core::unit::DatasetKey;

use crate::columns::columns_of;
use crate::dialect::Dialect;
use crate::ledger::TableLedger;
use crate::session::Session;

/// Returns what a run of this scope is to be told: with the column, where its rows say
/// whose they are.
pub(crate) fn told(scope: Scope, cx: &TxnContext) -> TxnContext {
    let mut cx = cx.clone();
    if scope == Scope::Filter {
        cx.schema = Arc::new(with_dataset_column(&cx.schema));
    }
    cx
}

/// Checks that a run may add rows to a table.
pub(crate) fn check_append(
    session: &Session,
    table: &str,
    place: &str,
    scope: Scope,
) -> Result<()> {
    match scope == Scope::Window && has_column(session, table)? {
        true => Err(is_shared(place)),
        false => Ok(()),
    }
}

/// Checks that a run may replace days of a table.
pub(crate) fn check_replace(
    session: &Session,
    table: &str,
    place: &str,
    scope: Scope,
    cx: &TxnContext,
) -> Result<()> {
    check_append(session, table, place, scope)?;
    let known = TableLedger::new(session, table).datasets()?;
    check_scope(place, scope, &cx.source.dataset, &known)
}

fn has_column(session: &Session, table: &str) -> Result<bool> {
    let columns = columns_of(session, table)?;
    Ok(columns.iter().any(|column| column.name == DATASET_COLUMN))
}

/// Gives a table that was not shared until now the column, inside the caller's
/// transaction. Rows of which nobody knows whose they are stay as they are, whatever
/// is replaced.
pub(crate) fn share(session: &Session, table: &str) -> Result<()> {
    let owners = TableLedger::new(session, table).datasets()?;
    let (column, name) = (session.dialect.quoted(DATASET_COLUMN), session.table(table));
    let what = "note whose the rows of the table are";
    let kind = session.dialect.text();
    let add = format!("ALTER TABLE {name} ADD COLUMN {column} {kind}");
    let [owner] = owners.as_slice() else {
        return session.execute(what, &add).map(drop);
    };
    let key = session.literal(owner.key().as_str());
    if session.dialect == Dialect::Sqlite {
        // A default could not be taken away again.
        session.execute(what, &add)?;
        let update = format!("UPDATE {name} SET {column} = {key}");
        return session.execute(what, &update).map(drop);
    }
    // No row is written again for it.
    session.execute(what, &format!("{add} DEFAULT {key}"))?;
    let plain = format!("ALTER TABLE {name} ALTER COLUMN {column} DROP DEFAULT");
    session.execute(what, &plain).map(drop)
}

/// Returns a condition, behind another one, that is true of the rows of a dataset in
/// the table `t`; nothing where rows do not say whose they are.
pub(crate) fn and_is_of(session: &Session, key: Option<&DatasetKey>, t: &str) -> String {
    let column = session.dialect.quoted(DATASET_COLUMN);
    key.map_or_else(String::new, |key| {
        format!(" AND {t}.{column} = {}", session.literal(key.as_str()))
    })
}
