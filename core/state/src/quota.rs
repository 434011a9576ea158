//! What is remembered of an endpoint's limits.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::failure::{Failure, Unavailable};
use crate::store::State;

impl State {
    /// Changes the book of an endpoint, which nobody else does meanwhile, in
    /// any process.
    ///
    /// `work` is given the text that was last written, and returns the one to
    /// write, or `None` to leave it. It is called again when the database had
    /// to be made anew, and must not wait.
    ///
    /// Fails when the state cannot be used; for some seconds after that, at
    /// once.
    pub fn change_book<T>(
        &self,
        endpoint: &str,
        mut work: impl FnMut(Option<&str>) -> (Option<String>, T),
    ) -> Result<T, Unavailable> {
        self.with_if_well(|db| {
            let txn = db
                .conn
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            let (text, result) = work(read(&txn, endpoint)?.as_deref());
            if let Some(text) = text {
                txn.execute(
                    "INSERT INTO quota (endpoint, book) VALUES (?1, ?2)
                     ON CONFLICT (endpoint) DO UPDATE SET book = excluded.book",
                    params![endpoint, text],
                )?;
            }
            txn.commit()?;
            Ok(result)
        })
    }

    /// Returns the book of an endpoint; `None` if there is none yet, in which
    /// case none is made.
    ///
    /// Fails when the state cannot be used.
    pub fn book(&self, endpoint: &str) -> Result<Option<String>, Unavailable> {
        if !self.exists() {
            return Ok(None);
        }
        self.with_if_well(|db| read(&db.conn, endpoint))
    }
}

fn read(conn: &Connection, endpoint: &str) -> Result<Option<String>, Failure> {
    let book = conn
        .query_row(
            "SELECT book FROM quota WHERE endpoint = ?1",
            [endpoint],
            |row| row.get(0),
        )
        .optional()?;
    Ok(book)
}
