//! What it takes to ask Mixpanel, and how a pipeline is put together from it.

use std::path::PathBuf;

use jiff::Timestamp;
use mixflow_core::cancel::CancelToken;
use mixflow_core::config::{Env, Invalid, TextOrNumber, misfits};
use mixflow_core::engine::Pipeline;
use mixflow_core::observer::Observer;
use mixflow_core::registry::BuildContext;
use mixflow_core::report::RunReport;
use mixflow_core::sink::RecordFormat;
use mixflow_core::transform::NamedTransform;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_source_mixpanel::options::{AuthOptions, Region};
use mixflow_source_mixpanel::quota::LimitOptions;
use mixflow_source_mixpanel::retry::RetryOptions;
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;

use super::request::Request;
use super::target::Target;
use crate::launch::Launch;

/// The name of its pipelines, in locks and reports.
const NAME: &str = "workspace";

/// What it takes to ask Mixpanel. Everything a pipeline's thread needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    pub(super) project_id: Option<TextOrNumber>,
    pub(super) region: Option<String>,
    pub(super) auth: Option<AuthOptions>,
    pub(super) base_url: Option<String>,
    pub(super) retry: RetryOptions,
    pub(super) limits: LimitOptions,
    pub(super) home: Option<PathBuf>,
    pub(super) state: Option<PathBuf>,
}

impl Connection {
    pub(super) fn project(&self) -> Option<&str> {
        self.project_id.as_ref().map(|project| project.0.as_str())
    }

    /// Reads the region.
    pub(super) fn region(&self) -> Result<Option<Region>, Vec<Invalid>> {
        let Some(text) = self.region.as_deref() else {
            return Ok(None);
        };
        let read = Region::deserialize(text.into_deserializer());
        read.map(Some).map_err(|error: serde::de::value::Error| {
            vec![Invalid::new("source.region", error.to_string())]
        })
    }

    /// Returns what constructors of components may know.
    pub(super) fn context(&self) -> BuildContext {
        // A program's secrets stand in no file that could be warned of.
        let secrets = ["auth.secret", "auth.project_secret", "auth.token", "key"];
        BuildContext {
            env: Env::new(|name| std::env::var(name).ok()),
            home: self.home.clone(),
            state: self.state.clone(),
            store: self.project().map(str::to_owned),
            expanded: secrets.into_iter().map(str::to_owned).collect(),
            ..BuildContext::new(Timestamp::now())
        }
    }

    /// Puts a pipeline together. Makes no I/O.
    pub(super) fn pipeline(&self, request: &Request, target: Target) -> Result<Pipeline> {
        self.assemble(request, target).map_err(wrong)
    }

    fn assemble(&self, request: &Request, target: Target) -> Result<Pipeline, Vec<Invalid>> {
        let settings = &request.settings;
        let options = settings.run_options()?;
        let mut cx = self.context();
        let (sink_type, mut sink) = target.build(&cx).map_err(|all| within("sink", all))?;
        if let Some(mode) = settings.sink.mode {
            let chosen = sink.set_mode(mode);
            chosen.map_err(|error| vec![Invalid::new("sink.mode", error.in_a_line())])?;
        }
        cx.records = sink.capabilities().records;
        let source = request.build(self, &cx)?;
        if cx.records == RecordFormat::Raw && !settings.transforms.is_empty() {
            let message = "raw records pass untouched: leave the transforms out";
            return Err(vec![Invalid::new("transform", message)]);
        }
        cx.roles = source.info().roles;
        let mut transforms: Vec<NamedTransform> = Vec::new();
        for (n, step) in settings.transforms.iter().enumerate() {
            let last = transforms.last();
            let schema = last.map_or_else(|| source.schema(), |last| last.transform.schema());
            let transform = step.build(&schema, &cx);
            let transform = transform.map_err(|all| within(&format!("transform.{n}"), all))?;
            transforms.push(NamedTransform::new(step.kind(), transform));
        }
        let invalid = misfits(&*source, &transforms, &*sink);
        if !invalid.is_empty() {
            return Err(invalid);
        }
        Ok(Pipeline {
            name: NAME.to_owned(),
            source_type: request.source_type().to_owned(),
            source,
            transforms,
            sink_type,
            sink,
            options,
        })
    }

    pub(super) fn run(
        &self,
        request: &Request,
        pipeline: &Pipeline,
        observer: &mut dyn Observer,
        cancel: &CancelToken,
    ) -> RunReport {
        let settings = &request.settings;
        let launch = Launch {
            state: self.state.clone(),
            patience: settings.patience(),
            units: settings.units.clone(),
            history: None,
        };
        launch.run(pipeline, observer, cancel)
    }
}

/// Says where in the settings something is wrong.
pub(super) fn within(table: &str, all: Vec<Invalid>) -> Vec<Invalid> {
    let place = |key: String| match key.as_str() {
        "" => table.to_owned(),
        key => format!("{table}.{key}"),
    };
    all.into_iter()
        .map(|each| Invalid::new(place(each.key), each.message))
        .collect()
}

/// Makes one error of all that is wrong.
pub(super) fn wrong(invalid: Vec<Invalid>) -> Error {
    let texts = invalid.iter();
    let texts = texts.map(|each| format!("`{}`: {}", each.key, each.message));
    Error::new(ErrorKind::Config, "the settings are wrong")
        .because(texts.collect::<Vec<_>>().join("; "))
}
