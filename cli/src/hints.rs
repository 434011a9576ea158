//! What to do about an error, where it is a flag or a command that does it: the
//! library knows of neither.

use mixflow_core::{Error, ErrorKind};

/// Adds what to do to an error that says nothing of it.
pub(crate) fn hinted(error: Error) -> Error {
    if error.hint_text().is_some() {
        return error;
    }
    match error.kind() {
        ErrorKind::Locked => error.hint("run it later, or with `--wait`"),
        ErrorKind::TableNotFound => error.hint("`mixflow tables` lists them"),
        _ => error,
    }
}
