//! Which project is asked and by whom, and who has said so.

use mixflow_core::config::{Document, Origin};

/// A fact of a source, for people: its name, and what it is with who says so.
pub(crate) type Fact = (&'static str, String);

/// Returns what a document says of a project; nothing if its source has none.
pub(crate) fn of(document: &Document<'_>) -> Vec<Fact> {
    let value = |key: &str| document.value(&format!("source.{key}"));
    let mut facts = Vec::new();
    for (name, key) in [
        ("project", "project_id"),
        ("region", "region"),
        ("base_url", "base_url"),
    ] {
        if let Some((text, origin)) = value(key) {
            facts.push((name, format!("{text}, from {}", by(&origin))));
        }
    }
    if let Some((name, origin)) = value("auth.username") {
        facts.push(("account", format!("{name}, from {}", by(&origin))));
    }
    for (name, key) in [
        ("secret", "auth.secret"),
        ("secret", "auth.project_secret"),
        ("token", "auth.token"),
    ] {
        facts.extend(secret(document, key).map(|place| (name, place)));
    }
    facts
}

fn by(origin: &Origin) -> String {
    match origin {
        Origin::File => "the file".to_owned(),
        Origin::Outside(argument) if argument.starts_with("--") => {
            let flag = argument.split(['=', ' ']).next().unwrap_or_default();
            format!("`{flag}`")
        }
        Origin::Outside(argument) => argument.clone(),
    }
}

/// Says where a secret is got from, and never what it is.
fn secret(document: &Document<'_>, key: &str) -> Option<String> {
    let value = |rest: &str| document.value(&format!("source.{key}{rest}"));
    let said = |place: String, origin: &Origin| match origin {
        // A variable that is the default of itself says it already.
        Origin::Outside(argument) if argument.starts_with("MIXPANEL_") => place,
        origin => format!("{place}, says {}", by(origin)),
    };
    if let Some((variable, origin)) = value(".env") {
        return Some(said(format!("from {variable}"), &origin));
    }
    if let Some((file, origin)) = value(".file") {
        return Some(said(format!("from the file `{file}`"), &origin));
    }
    if let Some((program, origin)) = value(".command.0") {
        return Some(said(format!("printed by `{program}`"), &origin));
    }
    value("").map(|(_, origin)| match origin {
        Origin::File => "stands in the file".to_owned(),
        origin => format!("from {}", by(&origin)),
    })
}
