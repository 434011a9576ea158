//! What every sink must do, as a function that its tests call.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use mixflow_core::sink::{Sink, WriteMode};
//! use mixflow_core::testing::{Cells, SinkUnderTest, sink_conformance};
//!
//! struct MySink;
//!
//! impl SinkUnderTest for MySink {
//!     fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
//!         todo!("the sink that writes to `place`, or none if it has no such mode")
//!     }
//!     fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
//!         todo!("what is visible at `place`")
//!     }
//! }
//!
//! sink_conformance(&MySink);
//! ```

mod checks;
mod rows;
mod values;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::sink::{Sink, WriteMode};

pub use rows::cells_of;

/// A row as it was read back: the text of each column's value.
pub type Cells = BTreeMap<String, Option<String>>;

/// A sink, and a way to look at what it has done.
pub trait SinkUnderTest {
    /// Makes a sink that writes to `place` in `mode`, or `None` if the sink has
    /// no such mode.
    ///
    /// `place` is a path in a folder that is there; it may get an extension,
    /// or be taken as a folder. With every mode `None` is an error.
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>>;

    /// Returns the rows that anybody sees at `place`, in any order, or `None`
    /// if there is nothing.
    ///
    /// A time is RFC 3339 or `2024-01-31 12:00:00`; without a zone it is UTC.
    fn rows(&self, place: &Path) -> Option<Vec<Cells>>;

    /// Whether null and an empty text can be told apart by what was written.
    fn keeps_nulls(&self) -> bool {
        true
    }

    /// Whether the sink itself refuses to replace rows by next to none, with
    /// [`check_replace`](crate::sink::check_replace).
    fn guards_replace(&self) -> bool {
        true
    }
}

/// What [`sink_conformance`] has looked at.
///
/// A test that names what it expects to be skipped notices when a mode that
/// the sink has is not tested any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conformance {
    /// The checks that passed.
    pub passed: Vec<&'static str>,
    /// The checks for which the sink lacks a mode.
    pub skipped: Vec<&'static str>,
    /// The types of columns that the sink refuses.
    pub refused_types: Vec<String>,
}

/// Checks that a sink keeps the contract of [`Sink`] and
/// [`SinkTxn`](crate::sink::SinkTxn). Panics with a list of what it does not.
///
/// Each check has a folder of its own. Where the sink has no mode that a check
/// needs, the check is skipped.
pub fn sink_conformance(under_test: &dyn SinkUnderTest) -> Conformance {
    let mut report = Conformance::default();
    let mut breaches = Vec::new();
    for (name, check) in checks::ALL {
        let case = Case::new(under_test);
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&case, &mut report)));
        match outcome {
            Ok(Ok(Checked::Passed)) => report.passed.push(name),
            Ok(Ok(Checked::Skipped)) => report.skipped.push(name),
            Ok(Err(breach)) => breaches.push(format!("{name}: {breach}")),
            Err(payload) => {
                let error = crate::Error::panicked("it", &*payload);
                breaches.push(format!("{name}: {error}: {}", error.causes().join(": ")));
            }
        }
    }
    if report.passed.is_empty() && breaches.is_empty() {
        breaches.push("the sink has no mode at all".to_owned());
    }
    assert!(
        breaches.is_empty(),
        "the sink breaks its contract:\n- {}",
        breaches.join("\n- ")
    );
    report
}

/// How a check went, if nothing is wrong.
enum Checked {
    Passed,
    Skipped,
}

/// A place for one check.
struct Case<'t> {
    under_test: &'t dyn SinkUnderTest,
    folder: TempDir,
    place: PathBuf,
}

impl<'t> Case<'t> {
    fn new(under_test: &'t dyn SinkUnderTest) -> Case<'t> {
        let folder = tempfile::tempdir().expect("a temp folder");
        Case {
            place: folder.path().join("target"),
            under_test,
            folder,
        }
    }

    fn sink(&self, mode: WriteMode) -> Option<Box<dyn Sink>> {
        self.under_test.sink(&self.place, mode)
    }

    /// Returns a sink of the first mode that it has.
    fn any_sink(&self) -> Option<Box<dyn Sink>> {
        [WriteMode::Create, WriteMode::Append, WriteMode::Replace]
            .into_iter()
            .find_map(|mode| self.sink(mode))
    }

    fn rows(&self) -> Option<Vec<Cells>> {
        self.under_test.rows(&self.place)
    }

    /// Returns what identifies the rows that are visible, sorted.
    fn ids(&self) -> Option<Vec<String>> {
        let mut ids: Vec<String> = self
            .rows()?
            .iter()
            .map(|row| row.get("insert_id").cloned().flatten().unwrap_or_default())
            .collect();
        ids.sort();
        Some(ids)
    }

    /// Returns the names of everything in the folder, for what must not change.
    fn names(&self) -> Vec<String> {
        super::names_in(self.folder.path())
    }
}
