//! A new table in the place of an old one.

use mixflow_core::{Error, ErrorKind, Result};

use crate::dialect::Dialect;
use crate::session::Session;

/// Checks that a table may be replaced by another one: that nothing in the
/// database holds on to it.
pub(crate) fn check(session: &Session, table: &str, place: &str) -> Result<()> {
    if session.dialect != Dialect::Postgres {
        return Ok(());
    }
    let oid = format!("{}::regclass", session.literal(&session.table(table)));
    let sql = format!(
        "SELECT DISTINCT v.oid::regclass::text FROM pg_catalog.pg_depend d \
         JOIN pg_catalog.pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid \
         JOIN pg_catalog.pg_class v ON v.oid = r.ev_class \
         WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = {oid} AND v.oid <> {oid} \
         UNION SELECT conrelid::regclass::text FROM pg_catalog.pg_constraint \
         WHERE contype = 'f' AND confrelid = {oid} AND conrelid <> {oid} ORDER BY 1"
    );
    let others = session.rows("look what depends on the table", &sql)?;
    let others: Vec<String> = others.into_iter().flatten().flatten().collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(
        Error::new(ErrorKind::Destination, format!("cannot replace {place}"))
            .because(format!("{} depends on it", others.join(", ")))
            .hint("drop that first, or set `mode = \"replace_window\"`, which leaves the table"),
    )
}

/// Puts the table `new` in the place of `table`, if there is one, inside the
/// caller's transaction. Who might use that one may use the new one.
pub(crate) fn swap(session: &Session, new: &str, table: &str, exists: bool) -> Result<()> {
    let what = format!("put the new table in the place of `{table}`");
    if exists {
        if session.dialect == Dialect::Postgres {
            grant(session, new, table, &what)?;
        }
        session.execute(&what, &format!("DROP TABLE {}", session.table(table)))?;
    }
    let name = session.dialect.quoted(table);
    let sql = format!("ALTER TABLE {} RENAME TO {name}", session.table(new));
    session.execute(&what, &sql).map(drop)
}

/// Gives the owner and the rights of a table to another one.
fn grant(session: &Session, new: &str, table: &str, what: &str) -> Result<()> {
    let oid = format!("{}::regclass", session.literal(&session.table(table)));
    let to = session.literal(&session.table(new));
    let sql = format!(
        "SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, {to}, \
            CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, \
            CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) \
         FROM pg_catalog.pg_class c, aclexplode(c.relacl) AS a \
         WHERE c.oid = {oid} AND a.grantee <> c.relowner \
         UNION ALL SELECT format('ALTER TABLE %s OWNER TO %s', {to}, \
            quote_ident(pg_get_userbyid(c.relowner))) FROM pg_catalog.pg_class c \
         WHERE c.oid = {oid} AND pg_get_userbyid(c.relowner) <> current_user"
    );
    for statement in session.rows(what, &sql)?.into_iter().flatten().flatten() {
        session.execute(what, &statement)?;
    }
    Ok(())
}
