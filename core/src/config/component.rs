//! The table of a component, and what is wrong with it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::Document;
use super::keys::join;
use super::problem::Invalid;
use crate::suggest::did_you_mean;

/// A component's table without its `type`.
pub(super) struct Component<'t> {
    pub(super) path: String,
    pub(super) kind: String,
    pub(super) table: DeTable<'t>,
    span: Range<usize>,
}

impl<'t> Component<'t> {
    pub(super) fn value(&self) -> Spanned<DeValue<'t>> {
        Spanned::new(self.span.clone(), DeValue::Table(self.table.clone()))
    }
}

/// Returns the table of a component, of which these types are `known`.
pub(super) fn component<'t>(
    document: &mut Document<'t>,
    root: &DeTable<'t>,
    path: &str,
    known: &[&'static str],
) -> Option<Component<'t>> {
    let example = known.first().copied().unwrap_or("…");
    match root.get(path) {
        Some(value) => component_of(document, value, path, example),
        None => {
            absent(document, path, example);
            None
        }
    }
}

/// Adds the problem of a table that there must be.
pub(super) fn absent(document: &mut Document<'_>, path: &str, example: &str) {
    document.invalid(
        "",
        format!(
            "there is no `[{path}]` table; it needs at least `type`, such as `type = \"{example}\"`"
        ),
    );
}

/// Returns the table of a component that is `value`.
pub(super) fn component_of<'t>(
    document: &mut Document<'t>,
    value: &Spanned<DeValue<'t>>,
    path: &str,
    example: &str,
) -> Option<Component<'t>> {
    let Some(table) = value.get_ref().as_table() else {
        document.invalid(path, "this must be a table");
        return None;
    };
    let mut table = table.clone();
    match table.remove("type") {
        Some(kind) => {
            let kind = document.read(&join(path, "type"), kind)?;
            Some(Component {
                path: path.to_owned(),
                kind,
                table,
                span: value.span(),
            })
        }
        None => {
            document.invalid(
                path,
                format!("`type` is missing, such as `type = \"{example}\"`"),
            );
            None
        }
    }
}

/// Adds what a component at `path` says is wrong with its options.
pub(super) fn report(document: &mut Document<'_>, path: &str, problems: Vec<Invalid>) {
    for problem in problems {
        let path = match problem.key.as_str() {
            "" => path.to_owned(),
            key => join(path, key),
        };
        document.invalid(&path, problem.message);
    }
}

/// Adds the problem of a type that nobody knows.
pub(super) fn unknown_type(
    document: &mut Document<'_>,
    component: &Component<'_>,
    what: &str,
    known: &[&str],
) {
    let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    document.invalid(
        &join(&component.path, "type"),
        format!(
            "there is no {what} `{}`, known are {}{}",
            component.kind,
            list.join(", "),
            did_you_mean(&component.kind, known)
        ),
    );
}
