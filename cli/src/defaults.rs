//! What the environment says where a pipeline leaves it out.

use mixflow_core::config::{Env, Override, OverrideValue};
use mixflow_core::registry::Registry;

/// The keys of a source, and the variables that have their defaults.
const VARIABLES: [(&str, &str); 3] = [
    ("project_id", "MIXPANEL_PROJECT_ID"),
    ("region", "MIXPANEL_REGION"),
    ("base_url", "MIXPANEL_BASE_URL"),
];

/// Returns the defaults for a pipeline file: none unless its source is one
/// that takes them.
pub(crate) fn of_file(text: &str, registry: &Registry, env: &Env) -> Vec<Override> {
    // What cannot be read has problems of its own.
    let kind = toml::from_str::<toml::Table>(text).ok().and_then(|table| {
        let kind = table.get("source")?.get("type")?.as_str()?;
        Some(kind.to_owned())
    });
    let mut sources = registry.sources();
    let doc = kind.and_then(|kind| sources.find(|doc| doc.name == kind));
    let takes = |key| doc.is_some_and(|doc| doc.options.iter().any(|option| option.name == key));
    let is_taken = VARIABLES.iter().all(|(key, _)| takes(*key)) && takes("auth");
    match is_taken {
        true => credentials(env),
        false => Vec::new(),
    }
}

/// Returns the credentials of the environment, and where they are for.
pub(crate) fn credentials(env: &Env) -> Vec<Override> {
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
            (
                "secret".to_owned(),
                OverrideValue::Table(vec![(
                    "env".to_owned(),
                    OverrideValue::Text("MIXPANEL_SECRET".to_owned()),
                )]),
            ),
        ]);
        let variable = "MIXPANEL_USERNAME".to_owned();
        defaults.push(Override::if_missing("source.auth", table, variable));
    }
    defaults
}
