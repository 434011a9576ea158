//! Rewrites texts in columns and inside `properties`, for personal data.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, StringArray};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use mixflow_core::config::Invalid;
use mixflow_core::context::UnitContext;
use mixflow_core::error::Result;
use mixflow_core::source::BatchIter;

use super::columns::{is_json_text, is_text, none_or, position, positions, type_name};
use super::json::{Edit, JsonValue, PathText, Paths, quote};

/// The column that paths lead into.
pub(super) const PROPERTIES: &str = "properties";

/// The texts that are rewritten.
#[derive(Clone, Debug)]
pub(super) struct Scrub {
    columns: Vec<usize>,
    properties: Option<(usize, Paths)>,
    /// What is told of each path that did not reach a value.
    warnings: Vec<String>,
}

impl Scrub {
    /// Finds `columns`, which are texts, and `properties`, which are paths
    /// inside the column of that name.
    ///
    /// `kind` is what the transform is called.
    pub(super) fn new(
        kind: &str,
        columns: &[String],
        properties: &[PathText],
        input: &Schema,
    ) -> Result<Scrub, Vec<Invalid>> {
        if columns.is_empty() && properties.is_empty() {
            let message = "this names neither `columns` nor `properties`";
            return Err(vec![Invalid::new("", message)]);
        }
        let mut invalid = Vec::new();
        let columns = text_columns(columns, input, &mut invalid);
        let paths = paths_of(properties, &mut invalid);
        let column = if properties.is_empty() {
            None
        } else {
            json_column("properties", PROPERTIES, input)
                .map_err(|problem| invalid.push(problem))
                .ok()
                .map(|at| (at, paths))
        };
        let warning = |PathText(path): &PathText| {
            format!(
                "values on the way to `{path}` that are neither objects nor lists of them, so `{kind}` left them as they are"
            )
        };
        none_or(
            invalid,
            Scrub {
                columns,
                properties: column,
                warnings: properties.iter().map(warning).collect(),
            },
        )
    }

    /// Changes the batches of a partition, and counts what was not reached.
    pub(super) fn stream<'a>(
        &'a self,
        batches: BatchIter<'a>,
        cx: &'a UnitContext,
        apply: impl Fn(&RecordBatch, &mut dyn FnMut(usize)) -> Result<RecordBatch> + 'a,
    ) -> BatchIter<'a> {
        Box::new(batches.map(move |records| {
            let mut missed = vec![0; self.warnings.len()];
            let records = apply(&records?, &mut |path| missed[path] += 1)?;
            for (warning, n) in self.warnings.iter().zip(missed) {
                cx.count_warning(warning, n);
            }
            Ok(records)
        }))
    }

    /// Gives each text to `rewrite`; a JSON value that is none, as its JSON.
    /// Nulls stay null. Gives the number of a path to `missed` for each value
    /// that it does not reach.
    pub(super) fn apply(
        &self,
        records: &RecordBatch,
        missed: &mut dyn FnMut(usize),
        rewrite: impl Fn(&str) -> String,
    ) -> Result<RecordBatch> {
        let mut columns = records.columns().to_vec();
        for at in &self.columns {
            let texts = columns[*at].as_string::<i32>().iter();
            let rewritten: StringArray = texts.map(|text| text.map(&rewrite)).collect();
            columns[*at] = Arc::new(rewritten);
        }
        if let Some((at, paths)) = &self.properties {
            let edit = |_, value: &str| match JsonValue::of(value) {
                JsonValue::Null => Edit::Keep,
                JsonValue::Text(text) => Edit::Replace(quote(&rewrite(&text))),
                _ => Edit::Replace(quote(&rewrite(value))),
            };
            columns[*at] = edited(&columns[*at], |_, json| {
                paths.edit_in_lists(json, edit, &mut *missed)
            })?;
        }
        Ok(RecordBatch::try_new(records.schema(), columns)?)
    }
}

/// Returns the positions of `columns`, which must be of texts.
fn text_columns(columns: &[String], input: &Schema, invalid: &mut Vec<Invalid>) -> Vec<usize> {
    let columns = positions("columns", columns, input).unwrap_or_else(|problems| {
        invalid.extend(problems);
        Vec::new()
    });
    for at in &columns {
        let field = input.field(*at);
        if is_text(field) {
            continue;
        }
        let (name, kind) = (field.name(), type_name(field));
        let hint = if is_json_text(field) {
            "; what is inside is named under `properties`"
        } else {
            ""
        };
        let message = format!("the column `{name}` is {kind}, and this needs text{hint}");
        invalid.push(Invalid::new("columns", message));
    }
    columns
}

/// Returns the paths, of which none may be inside another.
fn paths_of(properties: &[PathText], invalid: &mut Vec<Invalid>) -> Paths {
    let mut paths = Paths::default();
    for (n, PathText(path)) in properties.iter().enumerate() {
        if let Some(other) = paths.overlap(path) {
            let PathText(other) = &properties[other];
            let message =
                format!("`{path}` and `{other}` are the same value, or one is inside the other");
            invalid.push(Invalid::new(format!("properties.{n}"), message));
        }
        paths.add(path);
    }
    paths
}

/// Returns the position of a JSON column; `key` is where it was named.
pub(super) fn json_column(key: &str, name: &str, input: &Schema) -> Result<usize, Invalid> {
    let at = position(key, name, input)?;
    let field = input.field(at);
    if !is_json_text(field) {
        let kind = type_name(field);
        let message = format!("the column `{name}` is {kind}, and this needs json");
        return Err(Invalid::new(key, message));
    }
    Ok(at)
}

/// Returns a JSON column whose texts are what `edit` makes of them, if it does;
/// it is given the row, too.
pub(super) fn edited(
    column: &ArrayRef,
    mut edit: impl FnMut(usize, &str) -> Result<Option<String>>,
) -> Result<ArrayRef> {
    let texts = column.as_string::<i32>();
    let bytes = texts.value_data().len();
    let mut builder = arrow::array::StringBuilder::with_capacity(texts.len(), bytes);
    for (row, json) in texts.iter().enumerate() {
        match json {
            None => builder.append_null(),
            Some(json) => match edit(row, json)? {
                Some(changed) => builder.append_value(changed),
                None => builder.append_value(json),
            },
        }
    }
    Ok(Arc::new(builder.finish()))
}
