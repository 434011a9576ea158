//! The variables of the environment that a pipeline file names.

use std::collections::BTreeSet;

use toml::de::{DeTable, DeValue};

use super::env::Env;
use super::mask;

/// Collects the variables that secrets name as `{ env = "NAME" }`, at any depth.
pub(super) fn named_variables(table: &DeTable<'_>, names: &mut BTreeSet<String>) {
    for (_, value) in table.iter() {
        let tables = match value.get_ref() {
            DeValue::Array(items) => items.as_ref(),
            _ => std::slice::from_ref(value),
        };
        for inner in tables.iter().filter_map(|item| item.get_ref().as_table()) {
            if let Some(name) = inner.get("env").and_then(|name| name.get_ref().as_str())
                && inner.iter().count() == 1
            {
                names.insert(name.to_owned());
            }
            named_variables(inner, names);
        }
    }
}

/// Returns the names in `${NAME}` and `${NAME:-default}`.
pub(super) fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).filter_map(|rest| {
        let inner = rest.split_once('}')?.0;
        Some(inner.split_once(":-").map_or(inner, |(name, _)| name))
    })
}

/// Replaces `${NAME}` and `${NAME:-default}`; `None` if there is none.
pub(super) fn substitute(text: &str, env: &Env, path: &str) -> Result<Option<String>, String> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inner, behind) = after
            .split_once('}')
            .ok_or_else(|| "`${` has no `}`".to_owned())?;
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let value = env
            .get(name)
            .filter(|value| default.is_none() || !value.is_empty())
            .or_else(|| default.map(str::to_owned))
            .ok_or_else(|| {
                if mask::is_variable(name, path) {
                    format!("the environment variable `{name}` is not set")
                } else {
                    "`${…}` has no name of a variable that is set".to_owned()
                }
            })?;
        out.push_str(before);
        out.push_str(&value);
        rest = behind;
    }
    out.push_str(rest);
    Ok(Some(out))
}
