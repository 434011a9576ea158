//! What a sink's tests give to the checks.

use std::collections::BTreeMap;
use std::path::Path;

use crate::sink::{Sink, WriteMode};

/// A row as it was read back: the text of each column's value.
pub type Cells = BTreeMap<String, Option<String>>;

/// A sink, and a way to look at what it has done.
pub trait SinkUnderTest {
    /// Makes a sink that writes to `place` in `mode`, or `None` if the sink has
    /// no such mode.
    ///
    /// `place` is a path in a folder that is there; it may get an extension,
    /// or be taken as a folder. A sink that writes no files takes it as a name that
    /// no other check has: of a topic, a table, a path at a server. With every mode
    /// `None` is an error.
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>>;

    /// Makes a sink that cannot write: its [`preview`](Sink::preview) and
    /// [`begin`](Sink::begin) are to fail. `None` if there is no such place, and
    /// the check is skipped.
    ///
    /// `place` lies below a file, where nobody can write one. A sink that writes no
    /// files goes elsewhere, such as to a port on which nobody listens.
    fn unwritable(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        self.sink(place, mode)
    }

    /// Returns the rows that anybody sees at `place`, in any order, or `None`
    /// if there is nothing.
    ///
    /// A time is RFC 3339 or `2024-01-31 12:00:00`; without a zone it is UTC.
    fn rows(&self, place: &Path) -> Option<Vec<Cells>>;

    /// Whether null and an empty text can be told apart by what was written.
    fn keeps_nulls(&self) -> bool {
        true
    }

    /// Whether a text may have a NUL in it. If not, U+FFFD stands in its place.
    fn holds_nul(&self) -> bool {
        true
    }

    /// Whether the sink itself refuses to replace rows by next to none, with
    /// [`check_replace`](crate::sink::check_replace).
    fn guards_replace(&self) -> bool {
        true
    }
}
