//! A place for one check, and what checks are made of.

use std::path::PathBuf;

use tempfile::TempDir;

use super::under_test::{Cells, SinkUnderTest};
use crate::error::Error;
use crate::sink::{Sink, WriteMode};
use crate::testing::files::names_in;

/// How a check went, if nothing is wrong.
pub(super) enum Checked {
    Passed,
    Skipped,
}

/// A place for one check.
pub(super) struct Case<'t> {
    pub(super) under_test: &'t dyn SinkUnderTest,
    pub(super) folder: TempDir,
    place: PathBuf,
}

impl<'t> Case<'t> {
    pub(super) fn new(under_test: &'t dyn SinkUnderTest) -> Case<'t> {
        let folder = tempfile::tempdir().expect("a temp folder");
        Case {
            place: folder.path().join("target"),
            under_test,
            folder,
        }
    }

    pub(super) fn sink(&self, mode: WriteMode) -> Option<Box<dyn Sink>> {
        self.under_test.sink(&self.place, mode)
    }

    /// Returns a sink of the first mode that it has.
    pub(super) fn any_sink(&self) -> Option<Box<dyn Sink>> {
        [WriteMode::Create, WriteMode::Append, WriteMode::Replace]
            .into_iter()
            .find_map(|mode| self.sink(mode))
    }

    pub(super) fn rows(&self) -> Option<Vec<Cells>> {
        self.under_test.rows(&self.place)
    }

    /// Returns what identifies the rows that are visible, sorted.
    pub(super) fn ids(&self) -> Option<Vec<String>> {
        let mut ids: Vec<String> = self
            .rows()?
            .iter()
            .map(|row| row.get("insert_id").cloned().flatten().unwrap_or_default())
            .collect();
        ids.sort();
        Some(ids)
    }

    /// Returns the names of everything in the folder, for what must not change.
    pub(super) fn names(&self) -> Vec<String> {
        names_in(self.folder.path())
    }
}

/// Passes an unexpected error on with what was tried.
pub(super) fn well<T>(what: &str, result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error:?}"))
}

pub(super) fn expect(holds: bool, breach: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(breach.into()) }
}

pub(super) fn expect_ids(
    case: &Case<'_>,
    when: &str,
    expected: Option<Vec<String>>,
) -> Result<(), String> {
    let found = case.ids();
    expect(
        found == expected,
        format!("{when} the rows are {found:?}, not {expected:?}"),
    )
}

/// Returns what is visible of a sink that has shown nothing.
pub(super) fn nothing(case: &Case<'_>) -> Result<(), String> {
    let found = case.ids().unwrap_or_default();
    expect(found.is_empty(), format!("the rows {found:?} are visible"))
}

pub(super) fn transactional(case: &Case<'_>) -> Option<Box<dyn Sink>> {
    case.any_sink()
        .filter(|sink| sink.capabilities().transactional)
}

pub(super) fn same(case: &Case<'_>, found: Option<&str>, expected: Option<&str>) -> bool {
    let is_nothing = |text: Option<&str>| text.unwrap_or_default().is_empty();
    found == expected
        || (!case.under_test.keeps_nulls() && is_nothing(found) && is_nothing(expected))
}
