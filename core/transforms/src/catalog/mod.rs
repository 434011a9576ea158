//! The catalogue: which properties there are, and what is in them.
//!
//! A [`Census`] goes over rows of JSON, value by value where they stand, and
//! gives a [`Catalog`]. Only the keys of the outermost object are properties.

mod census;
mod compare;
mod facts;
mod recipe;

pub use census::Census;
pub use compare::{Change, Difference, KnownProperty};

use jiff::civil::Date;
use serde::Serialize;

use super::extract::ColumnType;

/// The properties of some rows, the fullest first, then by name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Catalog {
    /// The rows that were looked at.
    pub rows: u64,
    /// What each property is.
    pub properties: Vec<Property>,
    /// Whether there are more than [`MOST_PROPERTIES`](crate::MOST_PROPERTIES), of which those that came
    /// first are here.
    pub is_cut: bool,
    /// Rows whose JSON could not be read. They count as rows without properties.
    pub unreadable: u64,
}

/// A property, and what is in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Property {
    /// Its key.
    pub property: String,
    /// The types of its values, as `extract` calls them; none if all are null.
    pub types: Vec<ColumnType>,
    /// The share of rows that have a value other than null, from 0 to 1.
    pub fill: f64,
    /// How many different values there are: exact up to some hundred, then to
    /// about one in a hundred.
    pub distinct: u64,
    /// The first day, in UTC, with a value; none where rows have no time.
    pub first_day: Option<Date>,
    /// The last one.
    pub last_day: Option<Date>,
    /// The first value, at most 40 characters of it: a text as it is, else JSON.
    pub example: Option<String>,
}

#[cfg(test)]
mod tests;
