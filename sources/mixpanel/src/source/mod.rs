//! A stream of a project, as the engine's source.

use arrow::datatypes::SchemaRef;
use mixflow_core::config::Invalid;
use mixflow_core::context::RunContext;
use mixflow_core::error::Result;
use mixflow_core::ledger::Held;
use mixflow_core::registry::BuildContext;
use mixflow_core::source::{ArchivePlace, Outline, Probe, Session, Source, SourceInfo};
use serde_json::json;

use crate::decode::Form;
use crate::events::Events;
use crate::options::{EventsOptions, ProfilesOptions};
use crate::probe::probe;
use crate::profiles::Profiles;
use crate::project::Project;
use crate::stream::Stream;

/// Data of a project of Mixpanel.
#[derive(Debug)]
pub struct MixpanelSource {
    project: Project,
    stream: Box<dyn Stream>,
    /// Whether rows come from the archive.
    replays: bool,
}

impl MixpanelSource {
    /// Creates the source of events, by date window. Makes no I/O; relative
    /// dates are read as of `cx.now`.
    ///
    /// Fails with all that is wrong with the options.
    pub fn events(
        options: EventsOptions,
        cx: &BuildContext,
    ) -> Result<MixpanelSource, Vec<Invalid>> {
        let (project, stream) = Events::new(options, cx)?;
        Ok(MixpanelSource {
            project,
            stream: Box::new(stream),
            replays: cx.replays,
        })
    }

    /// Creates the source of profiles, by page. Makes no I/O.
    ///
    /// Fails with all that is wrong with the options.
    pub fn profiles(
        options: ProfilesOptions,
        cx: &BuildContext,
    ) -> Result<MixpanelSource, Vec<Invalid>> {
        let (project, stream) = Profiles::new(options, cx)?;
        Ok(MixpanelSource {
            project,
            stream: Box::new(stream),
            replays: cx.replays,
        })
    }
}

impl Source for MixpanelSource {
    fn schema(&self) -> SchemaRef {
        self.stream.form().schema()
    }

    fn info(&self) -> SourceInfo {
        SourceInfo {
            title: self.project.endpoint.what(),
            warnings: self.project.warnings.clone(),
            ..self.stream.info()
        }
    }

    fn outline(&self, held: &Held) -> Outline {
        self.stream.outline(&self.project, held)
    }

    fn open(&self, cx: &RunContext) -> Result<Box<dyn Session>> {
        if let (true, Some(archive)) = (self.replays, &self.project.archive) {
            let what = self.project.endpoint.what();
            return self.stream.replay(archive, &what, cx);
        }
        let connection = self.project.open(cx)?;
        if let Some(archive) = &self.project.archive {
            archive.prepare(&self.stream.info().dataset)?;
        }
        Ok(self.stream.session(&self.project, connection, cx))
    }

    fn probe(&self, cx: &RunContext) -> Result<Option<Probe>> {
        probe(&self.project, &*self.stream, cx).map(Some)
    }

    fn accepts_short(&self) -> bool {
        self.stream.accepts_short()
    }

    fn archive(&self) -> Option<&ArchivePlace> {
        self.project.archive_place.as_ref()
    }

    fn max_rejects(&self) -> u64 {
        self.project.max_rejects
    }

    fn reading(&self) -> serde_json::Value {
        match self.stream.form() {
            Form::Events(clock) => json!({ "time_in_ms": clock.in_ms }),
            _ => serde_json::Value::Null,
        }
    }
}

#[cfg(test)]
mod tests;
