//! Whose rows a destination may lose when days are replaced.
//!
//! Where several datasets share a table, a column of it says whose a row is, because
//! nothing else of a row does: two `where` expressions may give the same event.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::unit::{Dataset, DatasetKey};

/// The column that says whose a row is, by the dataset's key, in a table that several
/// datasets share.
pub const DATASET_COLUMN: &str = "_mixflow_dataset";

/// Which rows of its days `replace_window` replaces: `scope` in TOML.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All, so that a destination has one dataset; a run of another one is
    /// refused.
    #[default]
    Window,
    /// Those of the run's own dataset, so that several may share a destination.
    Filter,
}

/// Returns the schema of rows that say whose they are.
pub fn with_dataset_column(schema: &Schema) -> Schema {
    let column = Field::new(DATASET_COLUMN, DataType::Utf8, true);
    let fields = schema.fields().iter().cloned().chain([Arc::new(column)]);
    Schema::new(fields.collect::<Vec<_>>())
}

/// Returns rows that say whose they are.
pub fn of_dataset(records: &RecordBatch, key: &DatasetKey) -> Result<RecordBatch> {
    let keys = StringArray::from_iter_values(std::iter::repeat_n(key.as_str(), records.num_rows()));
    let mut columns = records.columns().to_vec();
    columns.push(Arc::new(keys) as ArrayRef);
    let schema = Arc::new(with_dataset_column(records.schema_ref()));
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// Checks that a run's own columns leave the name of that column free.
pub fn check_dataset_column(schema: &Schema) -> Result<()> {
    let mut fields = schema.fields().iter();
    let is_it = |name: &str| name.eq_ignore_ascii_case(DATASET_COLUMN);
    if !fields.any(|field| is_it(field.name())) {
        return Ok(());
    }
    let message = format!("the column `{DATASET_COLUMN}` is mixflow's own");
    Err(Error::new(ErrorKind::Config, message).hint("give it another name, such as with `rename`"))
}

/// Returns the error of a run that would write to a table which several datasets
/// share, without saying whose its rows are.
pub fn is_shared(place: &str) -> Error {
    Error::new(ErrorKind::Destination, format!("cannot write {place}"))
        .because("it has rows of several datasets, which are kept apart")
        .hint("set `scope = \"filter\"`, or choose another table")
}

/// Refuses to replace days of a destination that has rows of another dataset,
/// unless each replaces only its own.
///
/// Every sink with `replace_window` that keeps a ledger asks this before the
/// first request. `theirs` are the datasets of the ledger, of which `ours` may
/// be one. Fails with [`ErrorKind::Destination`], and says in what they differ.
pub fn check_scope(
    destination: &str,
    scope: Scope,
    ours: &Dataset,
    theirs: &[Dataset],
) -> Result<()> {
    if scope == Scope::Filter {
        return Ok(());
    }
    let key = ours.key();
    let Some(other) = theirs.iter().find(|other| other.key() != key) else {
        return Ok(());
    };
    let hint = if other.filters == ours.filters && other.project == ours.project {
        "use the one of before, choose another destination, or fetch all of it anew with `mode = \"replace\"`"
    } else {
        "use those of before, choose another destination, or set `scope = \"filter\"`, with which each replaces only its own rows"
    };
    Err(Error::new(
        ErrorKind::Destination,
        format!("cannot replace days of {destination}, which has rows of another dataset"),
    )
    .because(format!(
        "they were fetched with {}, and this pipeline has {}",
        unlike(other, ours),
        unlike(ours, other)
    ))
    .hint(hint))
}

/// Says of a dataset in what it differs from another one.
fn unlike(dataset: &Dataset, other: &Dataset) -> String {
    let mut said = Vec::new();
    if dataset.filters != other.filters {
        said.push(filters(dataset));
    }
    if dataset.kind != other.kind {
        said.push(dataset.kind.to_string());
    }
    if dataset.project != other.project {
        said.push(match dataset.project.as_str() {
            "" => "no project".to_owned(),
            project => format!("project {project}"),
        });
    }
    if dataset.zone != other.zone {
        said.push(format!("time zone {}", dataset.zone));
    }
    said.join(", ")
}

/// Returns the filters as they stand in a pipeline file.
fn filters(dataset: &Dataset) -> String {
    if dataset.filters.is_empty() {
        return "no filter".to_owned();
    }
    let all = dataset.filters.iter();
    let all =
        all.map(|(name, value)| format!("`{}`", shortened(format!("{name} = {}", toml(value)))));
    all.collect::<Vec<_>>().join(" and ")
}

fn toml(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(toml).collect();
            format!("[{}]", values.join(", "))
        }
        other => other.to_string(),
    }
}

/// Returns the beginning of a filter that names a thousand events.
fn shortened(text: String) -> String {
    const SHOWN: usize = 200;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::unit::DataKind;

    fn dataset(filters: Value) -> Dataset {
        Dataset {
            project: "12345".to_owned(),
            kind: DataKind::Events,
            zone: "UTC".to_owned(),
            filters: filters.as_object().cloned().unwrap_or_default(),
        }
    }

    fn refused(ours: &Dataset, theirs: &[Dataset]) -> String {
        let error = check_scope("`out`", Scope::Window, ours, theirs).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Destination);
        error.causes().remove(0)
    }

    #[test]
    fn another_dataset_is_refused_with_the_filters_of_both() {
        let signups = dataset(json!({ "events": ["Sign Up", "Log \"In\""] }));
        let all = dataset(json!({}));
        assert_eq!(
            refused(&all, &[all.clone(), signups.clone()]),
            r#"they were fetched with `events = ["Sign Up", "Log \"In\""]`, and this pipeline has no filter"#
        );
        let some = dataset(json!({ "events": ["A"], "where": "x" }));
        assert_eq!(
            refused(&some, &[all]),
            r#"they were fetched with no filter, and this pipeline has `events = ["A"]` and `where = "x"`"#
        );
    }

    #[test]
    fn project_and_zone_are_named_where_they_differ() {
        let ours = dataset(json!({ "where": "x" }));
        let theirs = Dataset {
            project: "1".to_owned(),
            zone: "US/Pacific".to_owned(),
            ..ours.clone()
        };
        assert_eq!(
            refused(&ours, &[theirs]),
            "they were fetched with project 1, time zone US/Pacific, and this pipeline has project 12345, time zone UTC"
        );
    }

    #[test]
    fn the_same_dataset_is_never_refused_and_no_other_one_by_filter() {
        let ours = dataset(json!({ "events": ["A", "B"] }));
        let same = dataset(json!({ "events": ["B", "A"] }));
        let other = dataset(json!({ "events": ["C"] }));
        assert!(check_scope("`out`", Scope::Window, &ours, &[same]).is_ok());
        assert!(check_scope("`out`", Scope::Window, &ours, &[]).is_ok());
        assert!(check_scope("`out`", Scope::Filter, &ours, &[other]).is_ok());
    }

    #[test]
    fn a_long_filter_is_shown_in_part() {
        let names: Vec<String> = (0..1_000).map(|n| format!("évènement {n}")).collect();
        let cause = refused(&dataset(json!({})), &[dataset(json!({ "events": names }))]);
        assert!(cause.chars().count() < 400, "{cause}");
        assert!(cause.contains('…'), "{cause}");
    }
}
