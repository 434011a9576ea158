//! What it takes to ask Mixpanel, and how a pipeline is put together from it.

use std::path::PathBuf;

use mixflow_core::Result;
use mixflow_core::cancel::CancelToken;
use mixflow_core::config::{Alarms, Env, Invalid, misfits};
use mixflow_core::context::Notice;
use mixflow_core::engine::{Pipeline, Sinks};
use mixflow_core::observer::{Observer, RunEvent};
use mixflow_core::registry::BuildContext;
use mixflow_core::report::RunReport;
use mixflow_core::sink::RecordFormat;
use mixflow_core::transform::NamedTransform;

use super::project::{Project, within, wrong};
use super::request::Request;
use super::target::Target;
use crate::launch::Launch;

/// The name of its pipelines, in locks and reports.
const NAME: &str = "workspace";

/// What it takes to ask Mixpanel. Everything a pipeline's thread needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    pub(super) project: Project,
    pub(super) home: Option<PathBuf>,
    pub(super) state: Option<PathBuf>,
}

impl Connection {
    /// Returns what constructors of components may know.
    pub(super) fn context(&self) -> BuildContext {
        // A program's secrets stand in no file that could be warned of.
        let secrets = ["auth.secret", "auth.project_secret", "auth.token", "key"];
        BuildContext {
            env: Env::new(|name| std::env::var(name).ok()),
            home: self.home.clone(),
            state: self.state.clone(),
            store: self.project.id().map(str::to_owned),
            expanded: secrets.into_iter().map(str::to_owned).collect(),
            ..BuildContext::new(mixflow_core::clock::now())
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
        let source = request.build(&self.project, &cx)?;
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
            sinks: Sinks::one(sink_type, sink),
            options,
            alarms: Alarms::default(),
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
            run_id: None,
            state: self.state.clone(),
            patience: settings.patience(),
            most_requests: None,
            units: settings.units.clone(),
            history: None,
        };
        // Also for whoever does not listen.
        let mut heard = |event: &RunEvent<'_>| {
            if let RunEvent::Notice(Notice::Warning(text)) = event {
                log::warn!("{text}");
            }
            observer.on_event(event);
        };
        launch.run(pipeline, &mut heard, cancel)
    }
}
