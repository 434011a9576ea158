//! A place for one check, and what checks are made of.

use std::collections::BTreeMap;
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
        format!(
            "{when} {}",
            difference(found.as_deref(), expected.as_deref())
        ),
    )
}

/// Says how rows differ from those that should be visible, with the first of each
/// kind: of ten thousand rows nobody reads more.
pub(super) fn difference(found: Option<&[String]>, expected: Option<&[String]>) -> String {
    let count = |ids: Option<&[String]>| match ids {
        None => "nothing at all".to_owned(),
        Some([_]) => "1 row".to_owned(),
        Some(ids) => format!("{} rows", ids.len()),
    };
    let mut text = format!("{} should be visible", count(expected));
    if found.map(<[_]>::len) != expected.map(<[_]>::len) {
        text = format!("{text}, and {}", count(found));
        text.push_str(if matches!(found, Some([_])) {
            " is"
        } else {
            " are"
        });
    }
    // How often each is there too often, or too rarely.
    let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
    for id in expected.unwrap_or_default() {
        *balance.entry(id).or_default() += 1;
    }
    for id in found.unwrap_or_default() {
        *balance.entry(id).or_default() -= 1;
    }
    let which = |wanted: fn(i64) -> bool| {
        let ids = balance.iter().filter(|(_, n)| wanted(**n));
        ids.map(|(id, _)| *id).collect::<Vec<_>>()
    };
    for (what, ids) in [
        ("missing", which(|n| n > 0)),
        ("too many", which(|n| n < 0)),
    ] {
        if !ids.is_empty() {
            text = format!("{text}; {what}: {}", first(&ids));
        }
    }
    text
}

/// Names the first three, and counts the others.
pub(super) fn first(ids: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = ids.iter().take(SHOWN).map(|id| format!("`{id}`")).collect();
    match ids.len().checked_sub(SHOWN) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Returns what is visible of a sink that has shown nothing.
pub(super) fn nothing(case: &Case<'_>) -> Result<(), String> {
    let found = case.ids().unwrap_or_default();
    let shown: Vec<&str> = found.iter().map(String::as_str).collect();
    let n = found.len();
    let rows = if n == 1 { "row is" } else { "rows are" };
    expect(
        found.is_empty(),
        format!("{n} {rows} visible: {}", first(&shown)),
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|n| format!("id {n:05}")).collect()
    }

    #[test]
    fn of_ten_thousand_rows_the_first_three_differences_are_named() {
        let expected = ids(0..10_000);
        let mut found = ids(4..9_999);
        found.push("id 77777".to_owned());
        found.push("id 00005".to_owned());
        found.sort();
        assert_eq!(
            difference(Some(&found), Some(&expected)),
            "10000 rows should be visible, and 9997 rows are; \
             missing: `id 00000`, `id 00001`, `id 00002` and 2 more; \
             too many: `id 00005`, `id 77777`"
        );
        assert_eq!(
            difference(Some(&ids(0..1)), None),
            "nothing at all should be visible, and 1 row is; too many: `id 00000`"
        );
        assert_eq!(
            difference(None, Some(&[])),
            "0 rows should be visible, and nothing at all are"
        );
    }
}
