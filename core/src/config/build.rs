//! From a parsed document to a pipeline.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::alarms::alarms;
use super::archive::archive_table;
use super::component::{Component, component, component_of, report, unknown_type};
use super::document::Document;
use super::keys::join;
use super::problem::{Invalid, Problems};
use super::reader::Reader;
use super::run::run_table;
use super::sinks::{build_sinks, check_destinations, paths};
use crate::context::Delivery;
use crate::engine::{Pipeline, RunOptions, Sinks, check_delivery, must_be_last};
use crate::ledger::Earlier;
use crate::registry::{BuildContext, Registry};
use crate::sink::{RecordFormat, Sink};
use crate::source::Source;
use crate::transform::NamedTransform;

/// The tables and keys at the top of a pipeline file.
const TOP: [&str; 7] = [
    "name",
    "source",
    "transform",
    "sink",
    "run",
    "archive",
    "notify",
];

/// Builds the pipeline that `document` describes.
///
/// Makes no I/O. Reports everything that is wrong at once. `default_name` is
/// the pipeline's name unless the file has one.
pub fn build(
    mut document: Document<'_>,
    default_name: &str,
    registry: &Registry,
    cx: &BuildContext,
) -> Result<Pipeline, Problems> {
    let root = document.root().clone();
    let name = name_of(&mut document, &root, default_name);
    let source_table = component(&mut document, &root, "source", &registry.source_names());
    let beside = source_table.as_ref().map(|source| &source.table);
    let run = run_table(&mut document, &root, beside);
    let metrics = run.as_ref().and_then(|run| run.metrics.as_deref());
    let alarms = alarms(&mut document, &root, metrics, cx.home.as_deref());
    let run = run.map(|run| run.options());
    let home = cx.home.as_deref();
    let archive = archive_table(&mut document, &root, home, registry.archives_in());

    let store = |table| store_name(registry, table);
    let cx = BuildContext {
        store: source_table.as_ref().and_then(store),
        secret_variables: document.secret_variables().clone(),
        archive: archive.flatten(),
        ..cx.clone()
    };
    let sinks = build_sinks(&mut document, &root, registry, &cx);
    let records = sinks.as_ref().map(Sinks::records).unwrap_or_default();
    let source =
        source_table.and_then(|table| build_source(&mut document, table, registry, &cx, records));
    let schema = source.as_ref().map(|(_, source)| source.schema());
    let roles = source.as_ref().and_then(|(_, source)| source.info().roles);
    let cx = BuildContext { roles, ..cx };
    let transforms = build_transforms(&mut document, &root, registry, schema, &cx, records);
    if let (Some((_, source)), Some(transforms), Some(sinks)) = (&source, &transforms, &sinks) {
        for (named, path) in sinks.iter().zip(paths(&root)) {
            let invalid = misfits_at(&path, &**source, transforms, &*named.sink);
            report(&mut document, "", invalid);
        }
        check_destinations(&mut document, sinks, &source.info().dataset.kind);
    }
    check_run(&mut document, run.as_ref(), sinks.as_ref());
    check_archive(&mut document, &cx, run.as_ref(), source.as_ref());
    document.into_problems()?;
    // Whatever is `None` has left a problem.
    let (Some(name), Some(source), Some(sinks), Some(transforms), Some(run), Some(alarms)) =
        (name, source, sinks, transforms, run, alarms)
    else {
        unreachable!("a part that could not be built has left a problem");
    };
    let (source_type, source) = source;
    Ok(Pipeline {
        name,
        source_type,
        source,
        transforms,
        sinks,
        options: run,
        alarms,
    })
}

/// Finds a `delivery` that is not for the sinks.
fn check_run(document: &mut Document<'_>, run: Option<&RunOptions>, sinks: Option<&Sinks>) {
    if let (Some(run), Some(sinks)) = (run, sinks)
        && let Err(error) = check_delivery(run.delivery, sinks)
    {
        document.invalid("run.delivery", error.message());
    }
}

/// Finds an `[archive]` that nothing would be kept in, and what does not go with
/// it; to replay there must be one.
fn check_archive(
    document: &mut Document<'_>,
    cx: &BuildContext,
    run: Option<&RunOptions>,
    source: Option<&(String, Box<dyn Source>)>,
) {
    if cx.replays && !document.root().contains_key("archive") {
        let message = "there is no `[archive]` table, so there is nothing to replay; it needs `path`, such as `path = \"archive\"`";
        document.invalid("", message);
    }
    if cx.archive.is_none() {
        return;
    }
    if let Some((kind, source)) = source
        && source.archive().is_none()
    {
        let message = format!("nothing of `{kind}` can be kept in an archive: leave this out");
        document.invalid("archive", message);
    }
    if run.is_some_and(|run| run.delivery == Some(Delivery::Direct)) {
        document.invalid(
            "run.delivery",
            "`direct` does not go with `[archive]`, which keeps what is known to be whole: leave one of them out",
        );
    }
}

/// Returns the pipeline's name, and finds keys that are none of a pipeline's.
fn name_of<'t>(
    document: &mut Document<'t>,
    root: &DeTable<'t>,
    default_name: &str,
) -> Option<String> {
    for (key, _) in root.iter() {
        if !TOP.contains(&key.get_ref().as_ref()) {
            document.unknown_key(key, &TOP);
        }
    }
    let name = match root.get("name") {
        Some(value) => document.read("name", value.clone())?,
        None => default_name.to_owned(),
    };
    // Of several projects each is told apart.
    Some(match document.project() {
        Some(project) if !name.contains(project) => format!("{name}-{project}"),
        _ => name,
    })
}

fn store_name(registry: &Registry, source: &Component<'_>) -> Option<String> {
    let key = registry.source(&source.kind)?.store_key?;
    match source.table.get(key)?.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

fn build_source<'t>(
    document: &mut Document<'t>,
    mut component: Component<'t>,
    registry: &Registry,
    cx: &BuildContext,
    records: RecordFormat,
) -> Option<(String, Box<dyn Source>)> {
    component.table.remove("workers");
    let Some(entry) = registry.source(&component.kind) else {
        unknown_type(document, &component, "source", &registry.source_names());
        return None;
    };
    let cx = BuildContext {
        records,
        expanded: expanded_in(document, &component.path),
        ..cx.clone()
    };
    let mut reader = Reader {
        document,
        path: &component.path,
        value: component.value(),
    };
    match (entry.build)(&mut reader, &cx)? {
        Ok(source) => Some((component.kind, source)),
        Err(problems) => {
            report(document, &component.path, problems);
            None
        }
    }
}

/// Builds the transforms; `schema` is the source's, if there is a source.
///
/// Without a schema, after an error further up, names and options are checked
/// all the same.
fn build_transforms<'t>(
    document: &mut Document<'t>,
    root: &DeTable<'t>,
    registry: &Registry,
    mut schema: Option<SchemaRef>,
    cx: &BuildContext,
    records: RecordFormat,
) -> Option<Vec<NamedTransform>> {
    let Some(value) = root.get("transform") else {
        return Some(Vec::new());
    };
    let Some(items) = value.get_ref().as_array() else {
        document.invalid("transform", "transforms are written as `[[transform]]`");
        return None;
    };
    if records == RecordFormat::Raw && !items.is_empty() {
        document.invalid(
            "transform",
            "raw records pass untouched: remove the transforms, or the sink's `format = \"raw\"`",
        );
        return None;
    }
    let mut transforms = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let path = format!("transform.{n}");
        let transform = build_transform(document, item, &path, registry, schema.as_ref(), cx);
        let is_late = |named: &NamedTransform| named.transform.late().is_some();
        if let Some(named) = transform.as_ref().filter(|named| is_late(named))
            && n + 1 < items.len()
        {
            document.invalid(&path, must_be_last(&named.kind));
        }
        schema = transform.as_ref().map(|named| named.transform.schema());
        transforms.push(transform);
    }
    transforms.into_iter().collect()
}

fn build_transform<'t>(
    document: &mut Document<'t>,
    item: &Spanned<DeValue<'t>>,
    path: &str,
    registry: &Registry,
    schema: Option<&SchemaRef>,
    cx: &BuildContext,
) -> Option<NamedTransform> {
    let component = component_of(document, item, path, "select")?;
    let Some(entry) = registry.transform(&component.kind) else {
        let known = registry.transform_names();
        unknown_type(document, &component, "transform", &known);
        return None;
    };
    let cx = BuildContext {
        expanded: expanded_in(document, path),
        ..cx.clone()
    };
    let mut reader = Reader {
        document,
        path,
        value: component.value(),
    };
    let Some(schema) = schema else {
        // Only for what is wrong with the options themselves.
        let _ = (entry.build)(&mut reader, &(Arc::new(Schema::empty()), cx));
        return None;
    };
    match (entry.build)(&mut reader, &(Arc::clone(schema), cx))? {
        Ok(transform) => Some(NamedTransform::new(component.kind, transform)),
        Err(problems) => {
            report(document, path, problems);
            None
        }
    }
}

/// Returns the keys of the table at `path` whose values came from variables.
fn expanded_in(document: &Document<'_>, path: &str) -> BTreeSet<String> {
    let prefix = format!("{path}.");
    let expanded = document.expanded().range(prefix.clone()..);
    expanded
        .map_while(|path| path.strip_prefix(&prefix).map(str::to_owned))
        .collect()
}

/// Returns where what comes out of one stage is not what the next one takes.
pub fn misfits(
    source: &dyn Source,
    transforms: &[NamedTransform],
    sink: &dyn Sink,
) -> Vec<Invalid> {
    misfits_at("sink", source, transforms, sink)
}

/// As [`misfits`], for the sink that stands at `path`.
fn misfits_at(
    path: &str,
    source: &dyn Source,
    transforms: &[NamedTransform],
    sink: &dyn Sink,
) -> Vec<Invalid> {
    let mut invalid = Vec::new();
    let schema = transforms
        .last()
        .map_or_else(|| source.schema(), |last| last.transform.schema());
    if let Err(error) = sink.check_schema(&Arc::clone(&schema)) {
        invalid.push(Invalid::new(path, error.in_a_line()));
    }
    if sink.capabilities().replaces_days && !source.info().partitions_are_days {
        invalid.push(Invalid::new(
            join(path, "mode"),
            "`replace_window` needs a source whose partitions are days; use `replace`",
        ));
    }
    let days = source.info().calendar;
    if sink.earlier() == Earlier::Stay
        && days.is_some_and(|days| days.catches_up && days.lookback > 0)
    {
        invalid.push(Invalid::new(
            "source.lookback",
            "days that are fetched again would come twice: leave it out, or set `mode = \"replace_window\"`",
        ));
    }
    invalid
}
