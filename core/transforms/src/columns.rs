//! What the transforms ask of their input's columns.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use mixflow_core::batch::is_json;
use mixflow_core::config::Invalid;
use mixflow_core::suggest::did_you_mean;

/// The names of columns, of which no two may differ in case alone: databases,
/// DuckDB among them, and readers of Parquet take these for one.
pub(super) struct Names(HashMap<String, String>);

impl Names {
    pub(super) fn of(schema: &Schema) -> Names {
        let names = schema.fields().iter().map(|field| field.name());
        Names(
            names
                .map(|name| (name.to_lowercase(), name.clone()))
                .collect(),
        )
    }

    /// Adds a name, or says why it cannot be one.
    pub(super) fn add(&mut self, name: &str) -> Result<(), String> {
        match self.0.entry(name.to_lowercase()) {
            Entry::Vacant(entry) => {
                entry.insert(name.to_owned());
                Ok(())
            }
            Entry::Occupied(known) if known.get() == name => {
                Err(format!("there is a column `{name}` already"))
            }
            Entry::Occupied(known) => Err(format!(
                "the column `{name}` differs only in case from `{}`, and a database takes both for one",
                known.get()
            )),
        }
    }
}

/// Returns the position of the column `name`; `key` is where it was named.
pub(super) fn position(key: &str, name: &str, input: &Schema) -> Result<usize, Invalid> {
    input.index_of(name).map_err(|_| {
        let known: Vec<&str> = input.fields().iter().map(|f| f.name().as_str()).collect();
        let hint = did_you_mean(name, &known);
        Invalid::new(key, format!("there is no column `{name}`{hint}"))
    })
}

/// Returns the positions of `names`, each named once; all that is wrong
/// otherwise.
pub(super) fn positions(
    key: &str,
    names: &[String],
    input: &Schema,
) -> Result<Vec<usize>, Vec<Invalid>> {
    let mut positions = Vec::with_capacity(names.len());
    let mut seen = HashSet::with_capacity(names.len());
    let fields = input.fields().iter().enumerate();
    let known: HashMap<&str, usize> = fields.map(|(n, f)| (f.name().as_str(), n)).collect();
    let mut invalid = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let key = format!("{key}.{n}");
        let found = known.get(name.as_str()).copied();
        match found.map_or_else(|| position(&key, name, input), Ok) {
            Ok(position) if !seen.insert(position) => {
                let message = format!("the column `{name}` is named twice");
                invalid.push(Invalid::new(key, message));
            }
            Ok(position) => positions.push(position),
            Err(problem) => invalid.push(problem),
        }
    }
    none_or(invalid, positions)
}

/// Returns `value` unless something is wrong.
pub(super) fn none_or<T>(invalid: Vec<Invalid>, value: T) -> Result<T, Vec<Invalid>> {
    if invalid.is_empty() {
        Ok(value)
    } else {
        Err(invalid)
    }
}

/// Returns what people call the type of a column.
pub(super) fn type_name(field: &Field) -> String {
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 if is_json(field) => "json".to_owned(),
        DataType::Utf8 => "text".to_owned(),
        DataType::Int64 => "int".to_owned(),
        DataType::Float64 => "float".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp".to_owned(),
        DataType::Date32 => "date".to_owned(),
        other => other.to_string(),
    }
}

/// Returns whether a column's values are texts that are not JSON.
pub(super) fn is_text(field: &Field) -> bool {
    *field.data_type() == DataType::Utf8 && !is_json(field)
}

/// Returns whether a column's values are JSON in the form that we read.
pub(super) fn is_json_text(field: &Field) -> bool {
    *field.data_type() == DataType::Utf8 && is_json(field)
}
