//! The sinks of a pipeline.

use crate::destination::Destination;
use crate::sink::Sink;
use crate::unit::DataKind;

/// A sink, and what its type is called in TOML.
pub struct NamedSink {
    /// The type, for reports.
    pub kind: String,
    /// Where rows go.
    pub sink: Box<dyn Sink>,
}

impl NamedSink {
    /// Names a sink.
    pub fn new(kind: impl Into<String>, sink: Box<dyn Sink>) -> NamedSink {
        NamedSink {
            kind: kind.into(),
            sink,
        }
    }
}

/// The sinks of a pipeline, in their order: at least one.
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

    /// Returns the first one.
    pub fn first(&self) -> &NamedSink {
        &self.first
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
}
