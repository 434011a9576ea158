//! The values of a `where` expression: how they are cast and compared.

use std::cmp::Ordering;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde_json::Value;

use super::json;

/// What an operand stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    Json(Value),
    /// Microseconds since 1970.
    Instant(i64),
}

/// What makes one type of value of another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cast {
    Boolean,
    Number,
    String,
    Datetime,
}

impl Cast {
    pub(super) fn of(word: &str) -> Option<Self> {
        match word {
            "boolean" => Some(Self::Boolean),
            "number" => Some(Self::Number),
            "string" => Some(Self::String),
            "datetime" => Some(Self::Datetime),
            _ => None,
        }
    }

    /// Casts a value; `None` is a property that is missing, or a value that
    /// the type has no form for.
    pub(super) fn apply(self, found: Option<Found>) -> Option<Found> {
        let json = match (self, &found) {
            (Self::Datetime, Some(found)) => return found.instant().map(Found::Instant),
            (Self::Boolean, found) => Some(Value::Bool(found.as_ref().is_some_and(is_true))),
            (Self::Number, Some(found)) => found.number(),
            (Self::String, Some(found)) => found.text().map(Value::String),
            (_, None) => None,
        };
        json.map(Found::Json)
    }
}

impl Found {
    /// Reads a date, a date with a time (in UTC unless it says otherwise), or
    /// seconds since 1970.
    fn instant(&self) -> Option<i64> {
        match self {
            Self::Instant(micros) => Some(*micros),
            Self::Json(Value::Number(seconds)) => json::micros(&seconds.to_string(), false),
            Self::Json(Value::String(text)) => {
                let civil = || {
                    let date = text.parse::<Date>().map(|date| date.at(0, 0, 0, 0));
                    let time = text.parse::<DateTime>().or(date).ok()?;
                    TimeZone::UTC.to_timestamp(time).ok()
                };
                let instant = text.parse::<Timestamp>().ok().or_else(civil)?;
                Some(instant.as_microsecond())
            }
            Self::Json(_) => None,
        }
    }

    fn number(&self) -> Option<Value> {
        match self {
            Self::Instant(micros) => Some(Value::from(micros / 1_000_000)),
            Self::Json(number @ Value::Number(_)) => Some(number.clone()),
            Self::Json(Value::Bool(is_true)) => Some(Value::from(i64::from(*is_true))),
            Self::Json(Value::String(text)) => {
                let number: Value = serde_json::from_str(text.trim()).ok()?;
                number.is_number().then_some(number)
            }
            Self::Json(_) => None,
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Instant(micros) => {
                let instant = Timestamp::from_microsecond(*micros).ok()?;
                Some(instant.strftime("%Y-%m-%dT%H:%M:%S").to_string())
            }
            Self::Json(Value::Null) => None,
            Self::Json(Value::String(text)) => Some(text.clone()),
            Self::Json(value) => Some(value.to_string()),
        }
    }
}

fn is_true(found: &Found) -> bool {
    match found {
        Found::Instant(_) => true,
        Found::Json(Value::Null) => false,
        Found::Json(Value::Bool(is_true)) => *is_true,
        Found::Json(Value::Number(number)) => number.as_f64() != Some(0.0),
        Found::Json(Value::String(text)) => !text.is_empty() && text != "false",
        Found::Json(Value::Array(_) | Value::Object(_)) => true,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

impl Comparison {
    /// Compares; a value beside an instant is read as one.
    pub(super) fn holds(self, left: Option<Found>, right: Option<Found>) -> bool {
        let is_unequal = self == Self::NotEqual;
        match (left, right) {
            (Some(Found::Json(left)), Some(Found::Json(right))) => self.of_json(&left, &right),
            (Some(left), Some(right)) => match (left.instant(), right.instant()) {
                (Some(left), Some(right)) => self.of_order(left.cmp(&right)),
                _ => is_unequal,
            },
            _ => is_unequal,
        }
    }

    fn of_json(self, left: &Value, right: &Value) -> bool {
        match self {
            Self::Equal => equal(left, right),
            Self::NotEqual => !equal(left, right),
            Self::In => match (left, right) {
                (Value::String(part), Value::String(whole)) => whole.contains(part.as_str()),
                (_, Value::Array(items)) => items.iter().any(|item| equal(left, item)),
                _ => false,
            },
            _ => order(left, right).is_some_and(|order| self.of_order(order)),
        }
    }

    fn of_order(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::In => false,
        }
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    left == right || order(left, right) == Some(Ordering::Equal)
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        _ => None,
    }
}

/// Reads a value for comparison. What `serde_json` cannot hold is compared as
/// a string with replacement characters, or is equal to nothing.
pub(super) fn value(raw: &str) -> Value {
    let lossy = || json::string(raw).map_or(Value::Null, Value::String);
    serde_json::from_str(raw).unwrap_or_else(|_| lossy())
}
