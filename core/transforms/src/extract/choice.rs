//! Which columns there are for properties, and what they are called.

use std::collections::{HashMap, HashSet};

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use mixflow_core::batch::is_json;
use mixflow_core::made_of::{Existing, made_of};

use super::super::json::{JsonPath, PathText};
use super::super::naming::{column_names, plain_name};
use super::column::ColumnType;
use super::observed::Observed;
use super::options::ExtractColumn;

/// A property that a column could be made of.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) property: String,
    /// The rows that have a value of it.
    pub(super) filled: u64,
    /// The same, as a share of all rows.
    pub(super) fill: f64,
    pub(super) observed: Observed,
}

/// What columns are chosen by.
pub(super) struct Choice<'a> {
    /// The columns before.
    pub(super) input: &'a Schema,
    /// The columns of the destinations.
    pub(super) existing: &'a [Existing],
    pub(super) max_columns: usize,
    pub(super) min_fill: f64,
}

impl Choice<'_> {
    /// Returns the columns: those of the destinations, in their order, then those
    /// of candidates, the fullest first, then by name.
    pub(super) fn columns(&self, mut candidates: Vec<Candidate>) -> Vec<ExtractColumn> {
        candidates.sort_by(|a, b| {
            let by_fill = b.filled.cmp(&a.filled);
            by_fill.then_with(|| a.property.cmp(&b.property))
        });
        let mut columns = self.kept(&candidates);
        let known: HashSet<String> = columns.iter().map(made_of_column).collect();
        let room = self.max_columns.saturating_sub(columns.len());
        let new = candidates.into_iter().filter(|candidate| {
            candidate.fill >= self.min_fill && !known.contains(&path_text(&candidate.property))
        });
        let typed = new.filter_map(|candidate| {
            let kind = ColumnType::of_all(&candidate.observed.types())?;
            Some((candidate.property, kind))
        });
        let new: Vec<(String, ColumnType)> = typed.take(room).collect();
        let names = self.names(&new, &columns);
        columns.extend(new.into_iter().zip(names).map(|((property, kind), name)| {
            let path = PathText(JsonPath::of_key(&property));
            let path = Some(path);
            ExtractColumn { name, path, kind }
        }));
        columns
    }

    /// Returns the columns that the destinations have and `extract` can make.
    fn kept(&self, candidates: &[Candidate]) -> Vec<ExtractColumn> {
        let input = self.input.fields().iter();
        let mut taken: HashSet<String> = input.map(|field| field.name().to_lowercase()).collect();
        let mut kept = Vec::new();
        let columns = self.existing.iter().flat_map(|one| &one.columns);
        for field in columns {
            let Some(kind) = type_of(field) else { continue };
            if taken.insert(field.name().to_lowercase()) {
                let path = Some(PathText(self.path_of(field, candidates)));
                let name = field.name().clone();
                kept.push(ExtractColumn { name, path, kind });
            }
        }
        kept
    }

    /// Returns what a column is filled from: what it was made of, or, where nobody
    /// knows that, the fullest property that would be called so.
    fn path_of(&self, field: &Field, candidates: &[Candidate]) -> JsonPath {
        let known = made_of(field).and_then(|text| JsonPath::parse(text).ok());
        known.unwrap_or_else(|| {
            let name = field.name().to_lowercase();
            let columns = self.existing.iter().flat_map(|one| &one.columns);
            let others: HashSet<&str> = columns.filter_map(made_of).collect();
            let named = candidates.iter().find(|candidate| {
                plain_name(&candidate.property).to_lowercase() == name
                    && !others.contains(&*path_text(&candidate.property))
            });
            JsonPath::of_key(named.map_or(field.name(), |candidate| &candidate.property))
        })
    }

    /// Returns the names of new columns: the one that a property's column had
    /// before, or one that no column has or had.
    fn names(&self, new: &[(String, ColumnType)], kept: &[ExtractColumn]) -> Vec<String> {
        let input = self.input.fields().iter().map(|field| field.name());
        let mut reserved: Vec<&str> = input.map(String::as_str).collect();
        let columns = self.existing.iter().flat_map(|one| &one.columns);
        reserved.extend(columns.map(|field| field.name().as_str()));
        let mut taken: HashSet<String> = reserved.iter().map(|name| name.to_lowercase()).collect();
        taken.extend(kept.iter().map(|column| column.name.to_lowercase()));
        let before = self.existing.iter().flat_map(|one| &one.names);
        let mut before_by_path: HashMap<&str, &str> = HashMap::new();
        for (path, name) in before {
            before_by_path.entry(path).or_insert(name);
            reserved.push(name);
        }
        let as_before: Vec<Option<&str>> = new
            .iter()
            .map(|(property, _)| {
                let name = before_by_path.get(&*path_text(property)).copied()?;
                taken.insert(name.to_lowercase()).then_some(name)
            })
            .collect();
        let unnamed = new
            .iter()
            .zip(&as_before)
            .filter(|(_, name)| name.is_none());
        let unnamed = unnamed.map(|((property, _), _)| property.as_str());
        let mut chosen = column_names(unnamed, reserved.iter().copied()).into_iter();
        let names = as_before.into_iter().filter_map(|name| match name {
            Some(name) => Some(name.to_owned()),
            None => chosen.next(),
        });
        names.collect()
    }
}

/// Returns the path of a property as text.
fn path_text(property: &str) -> String {
    JsonPath::of_key(property).to_string()
}

/// Returns the path of a column as text.
fn made_of_column(column: &ExtractColumn) -> String {
    match &column.path {
        Some(PathText(path)) => path.to_string(),
        None => path_text(&column.name),
    }
}

/// Returns the type that makes such a column; `None` if none does.
fn type_of(field: &Field) -> Option<ColumnType> {
    Some(match field.data_type() {
        DataType::Utf8 if is_json(field) => ColumnType::Json,
        DataType::Utf8 => ColumnType::Text,
        DataType::Int64 => ColumnType::Int,
        DataType::Float64 => ColumnType::Float,
        DataType::Boolean => ColumnType::Bool,
        DataType::Timestamp(TimeUnit::Microsecond, None) => ColumnType::Timestamp,
        DataType::Date32 => ColumnType::Date,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use mixflow_core::batch::json_field;
    use mixflow_core::made_of::with_made_of;

    use super::*;

    fn candidate(property: &str, filled: u64, value: &str) -> Candidate {
        let mut observed = Observed::default();
        observed.note(&super::super::super::json::JsonValue::of(value));
        Candidate {
            property: property.to_owned(),
            filled,
            fill: filled as f64 / 100.0,
            observed,
        }
    }

    fn int(name: &str) -> Field {
        Field::new(name, DataType::Int64, true)
    }

    /// Returns the columns as `name type path`, beside a column `event_name`.
    fn chosen(
        existing: &[Existing],
        max_columns: usize,
        candidates: Vec<Candidate>,
    ) -> Vec<String> {
        let input = Schema::new(vec![int("event_name")]);
        let choice = Choice {
            input: &input,
            existing,
            max_columns,
            min_fill: 0.01,
        };
        let columns = choice.columns(candidates).into_iter();
        columns
            .map(|column| {
                let path = made_of_column(&column);
                format!("{} {} {path}", column.name, column.kind)
            })
            .collect()
    }

    #[test]
    fn the_fullest_properties_have_columns_whatever_their_order() {
        let properties = || {
            vec![
                candidate("rare", 0, "1"),
                candidate("city", 40, "\"x\""),
                candidate("$city", 60, "\"x\""),
                candidate("Event Name", 60, "true"),
                candidate("empty", 50, "null"),
                candidate("n.a", 7, "1.5"),
            ]
        };
        let all = [
            "city text $city",
            "Event_Name_2 bool Event Name",
            "city_2 text city",
            "n_a float \"n.a\"",
        ];
        assert_eq!(chosen(&[], 100, properties()), all);
        let mut backwards = properties();
        backwards.reverse();
        assert_eq!(chosen(&[], 100, backwards), all);
        assert_eq!(chosen(&[], 2, properties()), all[..2]);
    }

    #[test]
    fn columns_that_are_there_stay_what_they_are_and_count() {
        let there = Existing {
            columns: vec![
                int("EVENT_NAME"),
                with_made_of(int("city_2"), "city"),
                with_made_of(json_field("amount", true), "cart.amount"),
                // Not made by `extract`.
                Field::new("small", DataType::Int16, true),
            ],
            names: vec![("gone".to_owned(), "Gone_7".to_owned())],
        };
        let properties = || {
            vec![
                candidate("city", 60, "\"x\""),
                candidate("amount", 50, "1"),
                candidate("gone", 40, "1"),
                candidate("gone_7", 30, "1"),
                candidate("small", 20, "1"),
            ]
        };
        let kept = ["city_2 int city", "amount json cart.amount"];
        let new = [
            "amount_2 int amount",
            "Gone_7 int gone",
            "gone_7_2 int gone_7",
            "small_2 int small",
        ];
        let there = [there];
        assert_eq!(
            chosen(&there, 100, properties()),
            [&kept[..], &new].concat()
        );
        assert_eq!(
            chosen(&there, 3, properties()),
            [&kept[..], &new[..1]].concat()
        );
        assert_eq!(chosen(&there, 1, properties()), kept);
        assert_eq!(chosen(&there, 100, Vec::new()), kept);
    }

    #[test]
    fn a_column_that_nobody_knows_is_filled_from_the_property_of_its_name() {
        let there = Existing {
            columns: vec![int("city"), int("plan"), with_made_of(int("x"), "$plan")],
            names: Vec::new(),
        };
        let properties = vec![
            candidate("$city", 9, "1"),
            candidate("city", 8, "1"),
            candidate("$plan", 7, "1"),
        ];
        assert_eq!(
            chosen(&[there], 100, properties),
            [
                "city int $city",
                "plan int plan",
                "x int $plan",
                "city_2 int city"
            ]
        );
    }
}
