//! Who is told of a pipeline's runs: the `[notify]` table, and `metrics`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use toml::de::{DeTable, ValueDeserializer};

use super::document::Document;
use super::path::local_path;
use super::run::METRICS;
use super::secret::SecretSource;
use crate::registry::{ComponentDoc, OptionDoc};

/// Who is told how the runs of a pipeline end.
///
/// Core only knows them; whoever runs a pipeline tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// Somebody, of runs that end so.
    pub notify: Option<Notify>,
    /// The file with the numbers of the last run.
    pub metrics: Option<PathBuf>,
    /// The variables that secrets of the pipeline come from: they are none of
    /// a command's business.
    pub secret_variables: BTreeSet<String>,
    /// Things a person should know before a run.
    pub warnings: Vec<String>,
}

/// Somebody who is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// Of which ends of a run.
    pub on: Vec<Occasion>,
    /// The address that is sent to.
    pub webhook: Option<SecretSource>,
    /// The program that is started, and its arguments.
    pub command: Option<Vec<String>>,
}

/// An end of a run that somebody may want to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// Nothing of it was committed.
    Failed,
    /// Something of it is missing.
    Partial,
    /// It was committed, and the run before it was not, or only in part.
    Recovered,
    /// It was committed.
    Committed,
}

/// What is told of unless the table says otherwise.
const BY_DEFAULT: [Occasion; 3] = [Occasion::Failed, Occasion::Partial, Occasion::Recovered];

/// The `[notify]` table.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyTable {
    on: Option<Vec<Occasion>>,
    webhook: Option<Webhook>,
    command: Option<Vec<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    url: SecretSource,
}

/// What `mixflow components` shows of the `[notify]` table.
pub const NOTIFY_DOC: ComponentDoc = ComponentDoc {
    name: "notify",
    about: "tells somebody how a run ended; who cannot be told is a warning, and changes no exit code",
    options: &[
        OptionDoc::new(
            "on",
            "list, default [\"failed\", \"partial\", \"recovered\"]; also \"committed\"",
            "which ends are told: failed is exit 1, 4, 5 and 6, also when nothing could be done; recovered is a run that committed after one that had failed or was partial",
        ),
        OptionDoc::new(
            "webhook",
            "{ url = secret }",
            "an address that gets `{\"text\": …, \"report\": …}` as JSON in a POST: a line for people, as Slack and others take it, and the run report; within 10 seconds",
        ),
        OptionDoc::new(
            "command",
            "list of a program and its arguments",
            "a program that gets the run report as JSON on its standard input; it is killed after 10 seconds, and what it prints is not shown",
        ),
    ],
};

impl NotifyTable {
    fn checked(self) -> Result<Notify, (&'static str, &'static str)> {
        if self.webhook.is_none() && self.command.is_none() {
            return Err((
                "notify",
                "this has neither `webhook` nor `command`, so that nobody would be told",
            ));
        }
        let is_empty = |command: &Vec<String>| command.first().is_none_or(String::is_empty);
        if self.command.as_ref().is_some_and(is_empty) {
            return Err(("notify.command", "the command is empty"));
        }
        Ok(Notify {
            on: self.on.unwrap_or_else(|| BY_DEFAULT.to_vec()),
            webhook: self.webhook.map(|webhook| webhook.url),
            command: self.command,
        })
    }
}

/// Reads the `[notify]` table; `metrics` is as `[run]` has it.
pub(super) fn alarms<'t>(
    document: &mut Document<'t>,
    root: &DeTable<'t>,
    metrics: Option<&Path>,
    home: Option<&Path>,
) -> Option<Alarms> {
    let mut alarms = Alarms {
        secret_variables: document.secret_variables().clone(),
        ..Alarms::default()
    };
    if let Some(path) = metrics {
        match local_path(path, home) {
            Ok(path) => alarms.metrics = Some(path),
            Err(message) => {
                document.invalid(METRICS, message);
                return None;
            }
        }
    }
    let Some(value) = root.get("notify") else {
        return Some(alarms);
    };
    let table: NotifyTable = document.read("notify", value.clone())?;
    match table.checked() {
        Ok(notify) => {
            alarms.warnings.extend(plain_text(document, &notify));
            alarms.notify = Some(notify);
            Some(alarms)
        }
        Err((path, message)) => {
            document.invalid(path, message);
            None
        }
    }
}

fn plain_text(document: &Document<'_>, notify: &Notify) -> Option<String> {
    let written_out = matches!(notify.webhook, Some(SecretSource::Plain(_)));
    (written_out && !document.expanded().contains("notify.webhook.url")).then(|| {
        "`notify.webhook.url` stands in the pipeline file as plain text; `{ env = \"…\" }` or `{ file = \"…\" }` keeps it out of backups and version control".to_owned()
    })
}

impl Alarms {
    /// Reads what can be read of a pipeline that cannot be built.
    pub(super) fn known(document: &Document<'_>, home: Option<&Path>) -> Alarms {
        let root = document.root();
        let metrics = root
            .get("run")
            .and_then(|run| run.get_ref().get("metrics")?.get_ref().as_str())
            .and_then(|path| local_path(Path::new(path), home).ok());
        let notify = root.get("notify").and_then(|value| {
            let table = NotifyTable::deserialize(ValueDeserializer::from(value.clone()));
            table.ok()?.checked().ok()
        });
        Alarms {
            notify,
            metrics,
            secret_variables: document.secret_variables().clone(),
            warnings: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_described;

    #[test]
    fn every_key_is_described() {
        assert_described::<NotifyTable>(&NOTIFY_DOC);
    }
}
