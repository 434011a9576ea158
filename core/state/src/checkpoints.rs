//! Which bodies earlier runs have left, and what each is to be.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::Type;
use rusqlite::{OptionalExtension as _, Row, params};

use crate::failure::Unavailable;
use crate::store::State;

/// A body that a run has left in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The file's name.
    pub file: String,
    /// The request whose answer it is, as a hash.
    pub request: String,
    /// How the bytes are encoded, in the writer's words.
    pub encoding: String,
    /// Bytes of the file.
    pub length: u64,
    /// The hash of its bytes.
    pub hash: u128,
    /// When it was written.
    pub written_at: SystemTime,
    /// The process that wrote it.
    pub pid: u32,
}

const COLUMNS: &str = "file, request, encoding, length, hash, written_at_ms, pid";

impl State {
    /// Enters a body whose file is complete and synced.
    ///
    /// Fails when the state cannot be used: then nobody will find the body.
    pub fn add_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), Unavailable> {
        let since = checkpoint
            .written_at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.with(|db| {
            db.conn.execute(
                &format!("INSERT OR REPLACE INTO checkpoints ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
                params![
                    checkpoint.file,
                    checkpoint.request,
                    checkpoint.encoding,
                    i64::try_from(checkpoint.length).unwrap_or(i64::MAX),
                    checkpoint.hash.to_be_bytes(),
                    i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                    checkpoint.pid,
                ],
            )?;
            Ok(())
        })
    }

    /// Returns the bodies of a request, or of all, the last one first.
    ///
    /// Fails when the state cannot be used.
    pub fn checkpoints(&self, request: Option<&str>) -> Result<Vec<Checkpoint>, Unavailable> {
        self.with(|db| {
            let mut statement = db.conn.prepare(&format!(
                "SELECT {COLUMNS} FROM checkpoints
                 WHERE request = coalesce(?1, request) ORDER BY written_at_ms DESC, file"
            ))?;
            let rows = statement.query_map([request], of)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Returns what is known of a file; `None` if nothing is.
    ///
    /// Fails when the state cannot be used.
    pub fn checkpoint(&self, file: &str) -> Result<Option<Checkpoint>, Unavailable> {
        self.with(|db| {
            let query = format!("SELECT {COLUMNS} FROM checkpoints WHERE file = ?1");
            let found = db.conn.query_row(&query, [file], of).optional()?;
            Ok(found)
        })
    }

    /// Strikes a body out. One that is not there is no failure.
    ///
    /// Fails when the state cannot be used.
    pub fn remove_checkpoint(&self, file: &str) -> Result<(), Unavailable> {
        self.with(|db| {
            db.conn
                .execute("DELETE FROM checkpoints WHERE file = ?1", [file])?;
            Ok(())
        })
    }
}

fn of(row: &Row<'_>) -> rusqlite::Result<Checkpoint> {
    let wrong = |column, kind| {
        move |error| rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
    };
    let hash: Vec<u8> = row.get(4)?;
    let hash = <[u8; 16]>::try_from(hash.as_slice()).map_err(wrong(4, Type::Blob))?;
    let written_at: i64 = row.get(5)?;
    let since = Duration::from_millis(u64::try_from(written_at).unwrap_or_default());
    Ok(Checkpoint {
        file: row.get(0)?,
        request: row.get(1)?,
        encoding: row.get(2)?,
        length: u64::try_from(row.get::<_, i64>(3)?).unwrap_or_default(),
        hash: u128::from_be_bytes(hash),
        written_at: UNIX_EPOCH + since,
        pid: row.get(6)?,
    })
}
