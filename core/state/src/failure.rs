//! Why the state cannot be used.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

/// The state cannot be used; the text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub(crate) String);

/// What went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("`{}` is of a newer version of mixflow", .0.display())]
    Newer(PathBuf),
    #[error("`{}` is a database of another program", .0.display())]
    Foreign(PathBuf),
    #[error("another process has held `{}` for too long", .0.display())]
    Held(PathBuf),
    #[error("it is damaged again as soon as it is made")]
    DamagedAgain,
    #[error("{0}")]
    Earlier(String),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl Failure {
    /// Whether the file is not what SQLite has written.
    pub(crate) fn is_damage(&self) -> bool {
        let damaged = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase];
        self.code().is_some_and(|code| damaged.contains(&code))
    }

    /// Whether the file system lacks what a write-ahead log needs, which is
    /// found out only when it is asked for.
    pub(crate) fn is_of_file_system(&self) -> bool {
        let told = [
            ErrorCode::CannotOpen,
            ErrorCode::SystemIoFailure,
            ErrorCode::FileLockingProtocolFailed,
        ];
        self.code().is_some_and(|code| told.contains(&code))
    }

    /// Whether it is no use to try again in this process.
    pub(crate) fn is_for_good(&self) -> bool {
        matches!(self, Failure::Newer(_) | Failure::Foreign(_))
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Failure::Sqlite(error) => error.sqlite_error_code(),
            _ => None,
        }
    }
}
