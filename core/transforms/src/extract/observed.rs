//! The types that values are of.

use super::super::json::JsonValue;
use super::super::time;
use super::column::ColumnType;

/// Of which types the values of a property were so far, each by the narrowest
/// type whose column takes it; null is of none.
///
/// A text is a date or a timestamp only if all texts of the property are:
/// otherwise a column of that type would lack most of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    int: bool,
    float: bool,
    bool: bool,
    json: bool,
    /// Numbers that no float holds, which are texts to `extract`.
    vast: bool,
    texts: Option<Texts>,
}

/// What all texts so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Texts {
    dates: bool,
    timestamps: bool,
}

impl Observed {
    /// Notes a value, and returns whether it is one: null is not.
    pub(crate) fn note(&mut self, value: &JsonValue<'_>) -> bool {
        match value {
            JsonValue::Null => return false,
            JsonValue::Bool(_) => self.bool = true,
            JsonValue::Array(_) | JsonValue::Object(_) => self.json = true,
            JsonValue::Text(text) => self.note_text(text),
            JsonValue::Number(digits) if digits.parse::<i64>().is_ok() => self.int = true,
            JsonValue::Number(digits) => match digits.parse::<f64>() {
                Ok(number) if number.is_finite() => self.float = true,
                _ => self.vast = true,
            },
        }
        true
    }

    /// Notes a value by its JSON, and decodes a text only if it can tell something.
    pub(crate) fn note_json(&mut self, json: &str) -> bool {
        let is_known = self
            .texts
            .is_some_and(|texts| !texts.dates && !texts.timestamps);
        (is_known && json.starts_with('"')) || self.note(&JsonValue::of(json))
    }

    fn note_text(&mut self, text: &str) {
        let texts = self.texts.get_or_insert(Texts {
            dates: true,
            timestamps: true,
        });
        // Of most properties the first text says that neither is to be tried.
        texts.dates = texts.dates && time::date(text).is_some();
        texts.timestamps = texts.timestamps && time::timestamp(text).is_some();
    }

    /// Adds what was noted of other values of the same property.
    pub(crate) fn merge(&mut self, other: Observed) {
        self.int |= other.int;
        self.float |= other.float;
        self.bool |= other.bool;
        self.json |= other.json;
        self.vast |= other.vast;
        self.texts = match (self.texts, other.texts) {
            (Some(ours), Some(theirs)) => Some(Texts {
                dates: ours.dates && theirs.dates,
                timestamps: ours.timestamps && theirs.timestamps,
            }),
            (ours, theirs) => ours.or(theirs),
        };
    }

    /// Returns the types, always in the same order; none if all was null.
    pub(crate) fn types(self) -> Vec<ColumnType> {
        let texts = self.texts.map(|texts| match texts {
            Texts { dates: true, .. } => ColumnType::Date,
            Texts {
                timestamps: true, ..
            } => ColumnType::Timestamp,
            _ => ColumnType::Text,
        });
        let vast = self.vast && texts != Some(ColumnType::Text);
        let types = [
            self.int.then_some(ColumnType::Int),
            self.float.then_some(ColumnType::Float),
            self.bool.then_some(ColumnType::Bool),
            vast.then_some(ColumnType::Text),
            texts,
            self.json.then_some(ColumnType::Json),
        ];
        types.into_iter().flatten().collect()
    }
}

impl ColumnType {
    /// Returns the type of a column that holds values of all these types: whole
    /// numbers beside others are floats, scalars of several types are texts, and
    /// what stands beside lists and objects is JSON.
    pub fn of_all(types: &[ColumnType]) -> Option<ColumnType> {
        match types {
            [] => None,
            [only] => Some(*only),
            [ColumnType::Int, ColumnType::Float] => Some(ColumnType::Float),
            several if several.contains(&ColumnType::Json) => Some(ColumnType::Json),
            _ => Some(ColumnType::Text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(values: &[&str]) -> Observed {
        let mut observed = Observed::default();
        let mut by_json = Observed::default();
        for json in values {
            let is_value = observed.note(&JsonValue::of(json));
            assert_eq!(by_json.note_json(json), is_value, "{json}");
        }
        assert_eq!(by_json, observed, "{values:?}");
        observed
    }

    #[track_caller]
    fn check(values: &[&str], types: &str, column: &str) {
        let found = observed(values).types();
        let words: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(words.join(" "), types, "{values:?}");
        let of_all = ColumnType::of_all(&found).map(|kind| kind.to_string());
        assert_eq!(of_all.unwrap_or_default(), column, "{values:?}");
        for split in 0..=values.len() {
            let mut merged = observed(&values[..split]);
            merged.merge(observed(&values[split..]));
            assert_eq!(merged, observed(values), "{values:?} at {split}");
        }
    }

    #[test]
    fn a_value_is_of_the_narrowest_type_that_takes_it() {
        check(&["null"], "", "");
        check(&["1", "-0", "null", "9223372036854775807"], "int", "int");
        check(&["1.0", "1e3", "9223372036854775808"], "float", "float");
        check(&["true", "false"], "bool", "bool");
        check(&["[1]", "{}"], "json", "json");
        check(&["1e999"], "text", "text");
    }

    #[test]
    fn texts_are_dates_or_timestamps_only_if_all_of_them_are() {
        check(&["\"2024-01-31\"", "\"2024-02-29\""], "date", "date");
        check(
            &["\"2024-01-31\"", "\"2024-01-31T12:00:00Z\""],
            "timestamp",
            "timestamp",
        );
        check(&["\"2024-01-31\"", "\"soon\""], "text", "text");
        check(&["\"\"", "\"2024-01-31\""], "text", "text");
        // No timestamp of 64 bits has that day.
        check(&["\"9999-12-31\""], "date", "date");
    }

    #[test]
    fn values_of_several_types_share_the_narrowest_column_that_takes_all() {
        check(&["1", "1.5"], "int float", "float");
        check(&["1", "\"a\""], "int text", "text");
        check(&["true", "\"2024-01-31\""], "bool date", "text");
        check(&["1e999", "\"2024-01-31\""], "text date", "text");
        check(&["1e999", "\"a\""], "text", "text");
        check(&["1", "\"a\"", "[1]"], "int text json", "json");
    }
}
