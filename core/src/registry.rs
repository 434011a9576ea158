//! The components that a binary knows, by the name they have in TOML.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::archive_place::{ArchivePlace, OpensBucket};
use crate::config::{Env, Invalid, Reader, local_path, schema_of};
use crate::roles::ColumnRoles;
use crate::sink::{RecordFormat, Sink};
use crate::slots::RequestSlots;
use crate::source::Source;
use crate::transform::Transform;

/// What constructors of components may know of the world.
#[derive(Clone, Debug)]
pub struct BuildContext {
    /// The environment, for secrets that are resolved later.
    pub env: Env,
    /// The time that relative dates are relative to.
    pub now: Timestamp,
    /// The user's home, for default paths.
    pub home: Option<PathBuf>,
    /// A folder for files that outlive a run: spools, rejects, state.
    pub state: Option<PathBuf>,
    /// Where whole bodies are kept, if they are; of sources.
    pub archive: Option<ArchivePlace>,
    /// Whether rows come from there instead of from a server: then a source needs
    /// no credentials.
    pub replays: bool,
    /// What requests are shared with by other machines, if they are; of sources.
    pub slots: Option<Arc<dyn RequestSlots>>,
    /// The form of record that the sink wants.
    pub records: RecordFormat,
    /// What the columns of the source are for; of transforms.
    pub roles: Option<ColumnRoles>,
    /// What a default destination is named after, such as the project.
    pub store: Option<String>,
    /// The component's keys whose values came from outside the file, such as
    /// environment variables; of sources and transforms.
    pub expanded: BTreeSet<String>,
    /// The environment variables that secrets of the pipeline come from: they
    /// are nobody else's business.
    pub secret_variables: BTreeSet<String>,
}

impl BuildContext {
    /// Creates a context without a home, a state folder or variables.
    pub fn new(now: Timestamp) -> BuildContext {
        BuildContext {
            env: Env::empty(),
            now,
            home: None,
            state: None,
            archive: None,
            replays: false,
            slots: None,
            records: RecordFormat::default(),
            roles: None,
            store: None,
            expanded: BTreeSet::new(),
            secret_variables: BTreeSet::new(),
        }
    }

    /// Returns the path that the option `key` names; see [`local_path`].
    pub fn local_path(&self, key: &str, path: &Path) -> Result<PathBuf, Vec<Invalid>> {
        local_path(path, self.home.as_deref()).map_err(|message| vec![Invalid::new(key, message)])
    }
}

/// One option of a component, for `mixflow components`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionDoc {
    /// The key: `retry.max_wait`.
    pub name: &'static str,
    /// What may be written there, and the default.
    pub value: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
}

impl OptionDoc {
    /// Describes the option `name`: what may be written there, and what it does.
    pub const fn new(name: &'static str, value: &'static str, about: &'static str) -> OptionDoc {
        OptionDoc { name, value, about }
    }
}

/// What a component is called and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComponentDoc {
    /// The name in TOML.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Its options.
    pub options: &'static [OptionDoc],
}

/// Makes the JSON Schema of a component's options.
type SchemaOf = fn() -> Value;

/// A component that was added.
pub struct Added<'r> {
    schema: &'r mut Option<SchemaOf>,
}

impl Added<'_> {
    /// Tells what values the options take, for the JSON Schema of pipeline files.
    /// Without, their names are known and any value will do.
    pub fn takes<T: JsonSchema>(self) {
        *self.schema = Some(schema_of::<T>);
    }
}

type Build<T, C> = Box<dyn Fn(&mut Reader<'_, '_>, &C) -> Option<Result<Box<T>, Vec<Invalid>>>>;

pub(crate) struct SourceEntry {
    doc: ComponentDoc,
    schema: Option<SchemaOf>,
    pub(crate) store_key: Option<&'static str>,
    pub(crate) build: Build<dyn Source, BuildContext>,
}

pub(crate) struct TransformEntry {
    doc: ComponentDoc,
    schema: Option<SchemaOf>,
    pub(crate) build: Build<dyn Transform, (SchemaRef, BuildContext)>,
}

pub(crate) struct SinkEntry {
    doc: ComponentDoc,
    schema: Option<SchemaOf>,
    pub(crate) build: Build<dyn Sink, BuildContext>,
}

/// The components that a binary knows. A value, made in one place; no globals.
#[derive(Default)]
pub struct Registry {
    sources: BTreeMap<&'static str, SourceEntry>,
    transforms: BTreeMap<&'static str, TransformEntry>,
    sinks: BTreeMap<&'static str, SinkEntry>,
    archives_in: Option<OpensBucket>,
}

impl Registry {
    /// Creates a registry without any component.
    pub fn empty() -> Registry {
        Registry::default()
    }

    /// Adds a source: its options type and a constructor that makes no I/O.
    ///
    /// `store_key` names the option that a default destination is named after.
    pub fn add_source<T, F>(
        &mut self,
        doc: ComponentDoc,
        store_key: Option<&'static str>,
        build: F,
    ) -> Added<'_>
    where
        T: DeserializeOwned,
        F: Fn(T, &BuildContext) -> Result<Box<dyn Source>, Vec<Invalid>> + 'static,
    {
        let entry = SourceEntry {
            doc,
            schema: None,
            store_key,
            build: Box::new(move |reader, cx| Some(build(reader.read()?, cx))),
        };
        self.sources.insert(doc.name, entry);
        let added = self.sources.get_mut(doc.name).expect("it was inserted");
        Added {
            schema: &mut added.schema,
        }
    }

    /// Adds a transform: its options type and a constructor that checks the
    /// schema of its input, and makes no I/O.
    pub fn add_transform<T, F>(&mut self, doc: ComponentDoc, build: F) -> Added<'_>
    where
        T: DeserializeOwned,
        F: Fn(T, &SchemaRef, &BuildContext) -> Result<Box<dyn Transform>, Vec<Invalid>> + 'static,
    {
        let entry = TransformEntry {
            doc,
            schema: None,
            build: Box::new(move |reader, (schema, cx)| Some(build(reader.read()?, schema, cx))),
        };
        self.transforms.insert(doc.name, entry);
        let added = self.transforms.get_mut(doc.name).expect("it was inserted");
        Added {
            schema: &mut added.schema,
        }
    }

    /// Adds a sink: its options type and a constructor that makes no I/O.
    pub fn add_sink<T, F>(&mut self, doc: ComponentDoc, build: F) -> Added<'_>
    where
        T: DeserializeOwned,
        F: Fn(T, &BuildContext) -> Result<Box<dyn Sink>, Vec<Invalid>> + 'static,
    {
        let entry = SinkEntry {
            doc,
            schema: None,
            build: Box::new(move |reader, cx| Some(build(reader.read()?, cx))),
        };
        self.sinks.insert(doc.name, entry);
        let added = self.sinks.get_mut(doc.name).expect("it was inserted");
        Added {
            schema: &mut added.schema,
        }
    }

    /// Says that archives may be in buckets, which `opens` opens.
    pub fn allow_archives_in_buckets(&mut self, opens: OpensBucket) {
        self.archives_in = Some(opens);
    }

    pub(crate) fn archives_in(&self) -> Option<OpensBucket> {
        self.archives_in
    }

    /// Returns what the sources are called and take.
    pub fn sources(&self) -> impl Iterator<Item = &ComponentDoc> {
        self.sources.values().map(|entry| &entry.doc)
    }

    /// Returns what the transforms are called and take.
    pub fn transforms(&self) -> impl Iterator<Item = &ComponentDoc> {
        self.transforms.values().map(|entry| &entry.doc)
    }

    /// Returns what the sinks are called and take.
    pub fn sinks(&self) -> impl Iterator<Item = &ComponentDoc> {
        self.sinks.values().map(|entry| &entry.doc)
    }

    /// Returns each source with the JSON Schema of its options, where it is known.
    pub(crate) fn source_schemas(&self) -> impl Iterator<Item = (&ComponentDoc, Option<Value>)> {
        let entries = self.sources.values();
        entries.map(|entry| (&entry.doc, entry.schema.map(|schema| schema())))
    }

    /// Does the same for transforms.
    pub(crate) fn transform_schemas(&self) -> impl Iterator<Item = (&ComponentDoc, Option<Value>)> {
        let entries = self.transforms.values();
        entries.map(|entry| (&entry.doc, entry.schema.map(|schema| schema())))
    }

    /// Does the same for sinks.
    pub(crate) fn sink_schemas(&self) -> impl Iterator<Item = (&ComponentDoc, Option<Value>)> {
        let entries = self.sinks.values();
        entries.map(|entry| (&entry.doc, entry.schema.map(|schema| schema())))
    }

    pub(crate) fn source(&self, name: &str) -> Option<&SourceEntry> {
        self.sources.get(name)
    }

    pub(crate) fn transform(&self, name: &str) -> Option<&TransformEntry> {
        self.transforms.get(name)
    }

    pub(crate) fn sink(&self, name: &str) -> Option<&SinkEntry> {
        self.sinks.get(name)
    }

    pub(crate) fn source_names(&self) -> Vec<&'static str> {
        self.sources.keys().copied().collect()
    }

    pub(crate) fn transform_names(&self) -> Vec<&'static str> {
        self.transforms.keys().copied().collect()
    }

    pub(crate) fn sink_names(&self) -> Vec<&'static str> {
        self.sinks.keys().copied().collect()
    }
}
