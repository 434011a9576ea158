//! Counts the properties of rows.

use super::super::properties::Properties;
use super::Catalog;
use super::facts::{Row, Seen};

/// Counts the properties of rows, one after the other.
///
/// Memory is bounded: by [`MOST_PROPERTIES`](crate::MOST_PROPERTIES), and by 9 KB
/// for each of them. Threads may count parts of the same rows, each
/// [beside](Census::beside) the others, and be [merged](Census::merge).
pub struct Census {
    rows: u64,
    unreadable: u64,
    properties: Properties<Seen>,
}

impl Default for Census {
    fn default() -> Census {
        Census::of(Properties::new())
    }
}

impl Census {
    fn of(properties: Properties<Seen>) -> Census {
        Census {
            rows: 0,
            unreadable: 0,
            properties,
        }
    }

    /// Returns one that counts other rows of the same table, and the same
    /// properties where there are too many.
    pub fn beside(&self) -> Census {
        Census::of(self.properties.beside())
    }

    /// Counts a row: its number, which orders the rows, its day since 1970 if it
    /// has a time, and its properties.
    pub fn count(&mut self, number: u64, day: Option<i32>, json: Option<&str>) {
        self.rows += 1;
        let Some(json) = json else { return };
        let row = Row { number, day };
        let read = self
            .properties
            .count(json, |seen, value| seen.count(row, value));
        if !read {
            self.unreadable += 1;
        }
    }

    /// Adds what one [beside](Census::beside) it has counted.
    pub fn merge(&mut self, other: Census) {
        self.rows += other.rows;
        self.unreadable += other.unreadable;
        self.properties.merge(other.properties);
    }

    /// Returns what was counted.
    pub fn finish(self) -> Catalog {
        let is_cut = self.properties.is_cut();
        let mut properties: Vec<(Box<str>, Seen)> = self.properties.into_facts().collect();
        properties.sort_by(|(a, x), (b, y)| y.filled.cmp(&x.filled).then_with(|| a.cmp(b)));
        let properties = properties.into_iter();
        Catalog {
            rows: self.rows,
            properties: properties
                .map(|(name, seen)| seen.finish(name.into(), self.rows))
                .collect(),
            is_cut,
            unreadable: self.unreadable,
        }
    }
}
