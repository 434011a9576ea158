//! The sinks of a pipeline file: `[sink]`, or `[[sink]]` several times.

use toml::de::{DeTable, DeValue};

use super::component::{Component, absent, component_of, report, unknown_type};
use super::document::Document;
use super::keys::join;
use super::reader::Reader;
use crate::destination::Destination;
use crate::engine::{NamedSink, Sinks};
use crate::registry::{BuildContext, Registry};
use crate::sink::RecordFormat;
use crate::unit::DataKind;

/// Returns where the sinks stand: `sink`, or `sink.0` and so on.
pub(super) fn paths(root: &DeTable<'_>) -> Vec<String> {
    match root.get("sink").map(|value| value.get_ref()) {
        Some(DeValue::Array(items)) => (0..items.len()).map(|n| format!("sink.{n}")).collect(),
        _ => vec!["sink".to_owned()],
    }
}

/// Builds the sinks. All are built, so that everything wrong with them is told.
pub(super) fn build_sinks<'t>(
    document: &mut Document<'t>,
    root: &DeTable<'t>,
    registry: &Registry,
    cx: &BuildContext,
) -> Option<Sinks> {
    let known = registry.sink_names();
    let example = known.first().copied().unwrap_or("…");
    let sinks: Vec<Option<NamedSink>> = match root.get("sink") {
        None => Vec::new(),
        Some(value) => {
            let values = match value.get_ref() {
                DeValue::Array(items) => items.iter().collect(),
                _ => vec![value],
            };
            let places = values.into_iter().zip(paths(root));
            let mut build = |(value, path): (_, String)| {
                let component = component_of(document, value, &path, example)?;
                build_sink(document, component, registry, cx)
            };
            places.map(&mut build).collect()
        }
    };
    if sinks.is_empty() {
        absent(document, "sink", example);
    }
    let sinks: Option<Vec<NamedSink>> = sinks.into_iter().collect();
    let sinks = Sinks::new(sinks?)?;
    check_records(document, &sinks).then_some(sinks)
}

fn build_sink<'t>(
    document: &mut Document<'t>,
    component: Component<'t>,
    registry: &Registry,
    cx: &BuildContext,
) -> Option<NamedSink> {
    let Some(entry) = registry.sink(&component.kind) else {
        unknown_type(document, &component, "sink", &registry.sink_names());
        return None;
    };
    let mut reader = Reader {
        document,
        path: &component.path,
        value: component.value(),
    };
    match (entry.build)(&mut reader, cx)? {
        Ok(sink) => Some(NamedSink::new(component.kind, sink)),
        Err(problems) => {
            report(document, &component.path, problems);
            None
        }
    }
}

/// Finds sinks that want records of different forms, which one fetch cannot give.
fn check_records(document: &mut Document<'_>, sinks: &Sinks) -> bool {
    let form = |records| match records {
        RecordFormat::Normalized => "named columns",
        RecordFormat::Raw => "raw records",
    };
    let first = sinks.records();
    let odd = sinks.iter().zip(0..).find_map(|(named, n)| {
        let records = named.sink.capabilities().records;
        (records != first).then_some((n, records))
    });
    let Some((n, records)) = odd else {
        return true;
    };
    let message = format!(
        "this sink wants {} and `sink.0` wants {}; one fetch gives all sinks the same",
        form(records),
        form(first)
    );
    document.invalid(&format!("sink.{n}"), message);
    false
}

/// Finds sinks that write to the same place.
pub(super) fn check_destinations(document: &mut Document<'_>, sinks: &Sinks, kind: &DataKind) {
    let destinations = sinks.destinations(kind);
    for (n, one) in destinations.iter().enumerate() {
        let mut others = destinations[..n].iter();
        if let Some(other) = others.position(|other| overlap(one, other)) {
            let message = format!("`sink.{other}` writes to {}, too", one.uri);
            document.invalid(&join("sink", &n.to_string()), message);
        }
    }
}

/// Returns whether two destinations are the same file or folder, or one lies in
/// the other, as far as their names tell.
fn overlap(one: &Destination, other: &Destination) -> bool {
    match (&one.path, &other.path) {
        (Some(one), Some(other)) => one.starts_with(other) || other.starts_with(one),
        (None, None) => (&one.uri, &one.table) == (&other.uri, &other.table),
        _ => false,
    }
}
