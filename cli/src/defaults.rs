//! What is said elsewhere of a pipeline's source, where the pipeline leaves it
//! out: by a named connection, then by the environment.

use std::path::Path;

use mixflow::connections::{Connections, connections_file};
use mixflow_core::config::{Document, Env, Override, OverrideValue, Parsed};
use mixflow_core::registry::Registry;

/// The keys of a source, and the variables that have their defaults.
const VARIABLES: [(&str, &str); 3] = [
    ("project_id", "MIXPANEL_PROJECT_ID"),
    ("region", "MIXPANEL_REGION"),
    ("base_url", "MIXPANEL_BASE_URL"),
];

/// What may be left out because a connection says it.
const OF_A_CONNECTION: [&str; 3] = ["source.auth", "source.project_id", "source.base_url"];

/// What a pipeline's text leaves out, and what could not be found of it.
#[derive(Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) overrides: Vec<Override>,
    /// What is wrong with the connection that is named.
    problem: Option<String>,
    /// What a person should know of the file of connections.
    pub(crate) warning: Option<String>,
    /// The connection that has been found.
    pub(crate) connection: Option<String>,
}

impl Defaults {
    /// Finds the defaults for a text with `changes`: none unless its source is one
    /// that takes them. Reads the file of connections if one is named.
    pub(crate) fn find(
        parsed: &Parsed<'_>,
        changes: &[Override],
        registry: &Registry,
        env: &Env,
        home: Option<&Path>,
    ) -> Defaults {
        let source = parsed.table("source");
        let said = |key: &str| {
            let mut set = changes.iter().rev();
            let set = set.find(|change| change.key == format!("source.{key}"));
            match set.map(|change| &change.value) {
                Some(OverrideValue::Guess(text) | OverrideValue::Text(text)) => Some(text.clone()),
                Some(_) => None,
                None => Some(source?.get(key)?.get_ref().as_str()?.to_owned()),
            }
        };
        let kind = said("type");
        let mut sources = registry.sources();
        let doc = kind.and_then(|kind| sources.find(|doc| doc.name == kind));
        let takes =
            |key: &str| doc.is_some_and(|doc| doc.options.iter().any(|option| option.name == key));
        let is_taken = VARIABLES.iter().all(|(key, _)| takes(key)) && takes("auth");
        if !is_taken {
            return Defaults::default();
        }
        let mut defaults = Defaults::default();
        if let Some(name) = said("connection").filter(|_| takes("connection")) {
            defaults.connect(&name, home, takes);
        }
        let auth = source.and_then(|source| source.get("auth"));
        let auth = auth.and_then(|auth| auth.get_ref().as_table());
        defaults.overrides.extend(credentials(env));
        // Half of a service account stands there.
        if auth.is_some_and(|auth| auth.len() == 1 && auth.contains_key("username")) {
            let key = "source.auth.secret";
            let variable = "MIXPANEL_SECRET".to_owned();
            let secret = Override::if_missing(key, secret(), variable);
            defaults.overrides.push(secret);
        }
        defaults
    }

    /// Takes what the connection `name` says of what a source takes.
    fn connect(&mut self, name: &str, home: Option<&Path>, takes: impl Fn(&str) -> bool) {
        let Some(path) = connections_file(home) else {
            let message = "there is no home folder that connections could be in";
            self.problem = Some(format!("{message}: set XDG_CONFIG_HOME"));
            return;
        };
        let connections = match Connections::read(&path) {
            Ok(connections) => connections,
            Err(error) => {
                self.problem = Some(error.in_a_line());
                return;
            }
        };
        self.warning = warning_of(&connections);
        match connections.get(name) {
            Err(error) => self.problem = Some(with_hint(&error)),
            Ok(connection) => {
                let resolved = Override::set(
                    "source.connection",
                    OverrideValue::Nothing,
                    format!("the connection `{name}`"),
                );
                let is_taken = |change: &Override| {
                    let key = change.key.strip_prefix("source.");
                    key.is_some_and(&takes)
                };
                self.overrides.push(resolved);
                self.overrides
                    .extend(connection.defaults().filter(is_taken));
                self.connection = Some(name.to_owned());
            }
        }
    }

    /// Says in a document what could not be found for it.
    pub(crate) fn tell(&self, document: &mut Document<'_>) {
        if let Some(problem) = &self.problem {
            document.unresolved("source.connection", problem, &OF_A_CONNECTION);
        }
    }
}

/// Says that others may read the secrets of connections, if they may.
pub(crate) fn warning_of(connections: &Connections) -> Option<String> {
    let path = connections.path().display();
    connections.is_open_to_others().then(|| {
        format!("others may read `{path}`, in which secrets may stand: `chmod 600 {path}`")
    })
}

fn with_hint(error: &mixflow_core::Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.in_a_line()),
        None => error.in_a_line(),
    }
}

fn secret() -> OverrideValue {
    let variable = OverrideValue::Text("MIXPANEL_SECRET".to_owned());
    OverrideValue::Table(vec![("env".to_owned(), variable)])
}

/// Returns the credentials of the environment, and where they are for.
fn credentials(env: &Env) -> Vec<Override> {
    let mut defaults = Vec::new();
    for (key, variable) in VARIABLES {
        if let Some(value) = env.get(variable).filter(|value| !value.is_empty()) {
            let value = OverrideValue::Text(value);
            let key = format!("source.{key}");
            defaults.push(Override::if_missing(key, value, variable.to_owned()));
        }
    }
    if let Some(username) = env.get("MIXPANEL_USERNAME").filter(|name| !name.is_empty()) {
        let table = OverrideValue::Table(vec![
            ("username".to_owned(), OverrideValue::Text(username)),
            ("secret".to_owned(), secret()),
        ]);
        let variable = "MIXPANEL_USERNAME".to_owned();
        defaults.push(Override::if_missing("source.auth", table, variable));
    }
    defaults
}
