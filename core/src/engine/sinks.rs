//! The sinks of a pipeline.

use std::collections::BTreeSet;

use crate::destination::Destination;
use crate::sink::{RecordFormat, Sink};
use crate::unit::{DataKind, UnitKey};

/// A sink, and what its type is called in TOML.
pub struct NamedSink {
    /// The type, for reports.
    pub kind: String,
    /// Where rows go.
    pub sink: Box<dyn Sink>,
    /// The units that it is given, of those that are read; `None` is all of
    /// them.
    pub units: Option<BTreeSet<UnitKey>>,
}

impl NamedSink {
    /// Names a sink, which is given all units.
    pub fn new(kind: impl Into<String>, sink: Box<dyn Sink>) -> NamedSink {
        NamedSink {
            kind: kind.into(),
            sink,
            units: None,
        }
    }
}

/// The sinks of a pipeline, in their order: at least one. All of them want
/// records of the same form.
pub struct Sinks {
    first: NamedSink,
    others: Vec<NamedSink>,
}

impl Sinks {
    /// Takes the one sink of a pipeline.
    pub fn one(kind: impl Into<String>, sink: Box<dyn Sink>) -> Sinks {
        Sinks {
            first: NamedSink::new(kind, sink),
            others: Vec::new(),
        }
    }

    /// Takes all sinks of a pipeline; `None` if there are none.
    pub fn new(sinks: impl IntoIterator<Item = NamedSink>) -> Option<Sinks> {
        let mut sinks = sinks.into_iter();
        let first = sinks.next()?;
        Some(Sinks {
            first,
            others: sinks.collect(),
        })
    }

    /// Returns the first one.
    pub fn first(&self) -> &NamedSink {
        &self.first
    }

    /// Returns whether there is more than one.
    pub fn are_several(&self) -> bool {
        !self.others.is_empty()
    }

    /// Returns all of them.
    pub fn iter(&self) -> impl Iterator<Item = &NamedSink> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Returns all of them, such as to set their mode.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut NamedSink> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    /// Returns where rows of this kind go, in the order of the sinks.
    pub fn destinations(&self, kind: &DataKind) -> Vec<Destination> {
        let of = |named: &NamedSink| named.sink.destination(kind);
        self.iter().map(of).collect()
    }

    /// Returns the types of all of them, for people: `duckdb, parquet`.
    pub fn kinds(&self) -> String {
        let kinds: Vec<&str> = self.iter().map(|named| named.kind.as_str()).collect();
        kinds.join(", ")
    }

    /// Returns the form of record that they want.
    pub fn records(&self) -> RecordFormat {
        self.first.sink.capabilities().records
    }

    /// Returns whether one of them can take rows back.
    pub fn is_any_transactional(&self) -> bool {
        self.iter()
            .any(|named| named.sink.capabilities().transactional)
    }
}

impl IntoIterator for Sinks {
    type Item = NamedSink;
    type IntoIter = std::iter::Chain<std::iter::Once<NamedSink>, std::vec::IntoIter<NamedSink>>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self.first).chain(self.others)
    }
}
