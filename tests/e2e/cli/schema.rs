//! The JSON Schema of pipeline files, by a validator that is not ours.

use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use serde_json::Value;

use crate::support::Place;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn schema() -> Value {
    let printed = Place::new().mixflow(&["schema-file"]).ended(0);
    serde_json::from_slice(&printed.stdout).unwrap()
}

fn validator() -> Validator {
    let schema = schema();
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::validator_for(&schema).unwrap()
}

fn json(toml: &str) -> Value {
    let table: toml::Table = toml
        .parse()
        .unwrap_or_else(|error| panic!("{error}\n{toml}"));
    serde_json::to_value(table).unwrap()
}

/// Returns the whole pipeline files that a page shows.
fn shown(page: &str) -> Vec<String> {
    let blocks = page.split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("\n```").next());
    let is_whole = |block: &&str| block.contains("[source]") && block.contains("[sink]");
    blocks.filter(is_whole).map(str::to_owned).collect()
}

#[test]
fn every_file_to_copy_and_every_page_is_valid() {
    let validator = validator();
    let mut checked = 0;
    let mut check = |place: &str, toml: &str| {
        let errors: Vec<String> = validator
            .iter_errors(&json(toml))
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{place}\n{}", errors.join("\n"));
        checked += 1;
    };
    for entry in read_dir(root().join("pipelines")).unwrap() {
        let path = entry.unwrap().path();
        check(&path.display().to_string(), &read_to_string(&path).unwrap());
    }
    for page in [
        "README.md",
        "cli/README.md",
        "sinks/README.md",
        "sources/README.md",
    ] {
        for toml in shown(&read_to_string(root().join(page)).unwrap()) {
            check(page, &toml);
        }
    }
    assert!(checked >= 10, "{checked}");
}

const SOURCE: &str = r#"[source]
type = "mixpanel_events"
project_id = 1
auth = { username = "a", secret = { env = "S" } }
from = "2024-01-01"
to = "yesterday"
"#;
const SINK: &str = "[sink]\ntype = \"duckdb\"\npath = \"a.db\"\n";

#[test]
fn what_check_takes_is_valid_and_what_it_refuses_by_its_form_is_not() {
    let validator = validator();
    let place = Place::new();
    let transform = "[[transform]]\ntype = \"extract\"\n";
    let valid = [
        format!("{SOURCE}workers = 3\nwindow_days = \"auto\"\n{SINK}"),
        format!("{SOURCE}region = \"${{R:-eu}}\"\nwindow_days = 7\n{SINK}mode = \"append\"\n"),
        format!("{SOURCE}retry = {{ max_wait = \"2h\" }}\n{SINK}"),
        format!(
            "{SOURCE}[{}[{}",
            SINK.replace(']', "]]"),
            SINK.replace(']', "]]").replace("a.db", "b.db")
        ),
        format!("{SOURCE}{transform}columns = \"auto\"\n{SINK}"),
        format!(
            "{SOURCE}{transform}columns = [{{ name = \"a\", type = \"int\", path = [\"x\", \"y\"] }}]\n{SINK}"
        ),
        format!("{SOURCE}{SINK}[run]\nworkers = 2\non_failure = \"keep\"\n"),
        SOURCE.replace("= 1", "= \"1\"") + SINK,
    ];
    for toml in &valid {
        let errors: Vec<String> = validator
            .iter_errors(&json(toml))
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{toml}\n{errors:?}");
        place
            .write("t.toml", toml)
            .mixflow(&["check", "t.toml"])
            .ended(0);
    }
    let wrong = [
        SOURCE.to_owned(),
        format!("{SOURCE}{SINK}[rnu]\nworkers = 1\n"),
        format!("{SOURCE}pth = 1\n{SINK}"),
        format!("{SOURCE}{SINK}mode = \"upsert\"\n"),
        format!("{SOURCE}{SINK}[run]\nworkers = \"three\"\n"),
        format!("{SOURCE}{SINK}[run]\nworkers = 0\n"),
        format!("{SOURCE}window_days = 0\n{SINK}"),
        SOURCE.replace("env", "evn") + SINK,
        format!("{SOURCE}{transform}columns = \"all\"\n{SINK}"),
        format!("{SOURCE}{transform}{SINK}"),
        format!("{SOURCE}{}", SINK.replace("duckdb", "duckbd")),
        format!("{}{SINK}", SOURCE.replace("2024-01-01", "January")),
        format!("{SOURCE}{SINK}[notify]\non = [\"sometimes\"]\n"),
        format!("{SOURCE}{SINK}[archive]\n"),
    ];
    for toml in &wrong {
        assert!(!validator.is_valid(&json(toml)), "{toml}");
        place
            .write("t.toml", toml)
            .mixflow(&["check", "t.toml"])
            .ended(2);
    }
}

/// Returns the keys of a schema for which any value will do.
fn loose(path: &str, schema: &Value, found: &mut Vec<String>) {
    let tables = ["source", "sink", "transform"];
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        let is_told = ["type", "anyOf", "enum", "const"]
            .iter()
            .any(|key| !value[key].is_null());
        if !is_told {
            found.push(path.clone());
        }
        loose(&path, value, found);
        if tables.contains(&key.as_str()) {
            loose(&path, &value["items"], found);
        }
    }
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        let name = choice["properties"]["type"]["const"].as_str().unwrap_or("");
        loose(&format!("{path}.{name}"), choice, found);
    }
}

#[test]
fn every_key_says_what_it_takes_and_what_it_is_for() {
    let schema = schema();
    let mut found = Vec::new();
    loose("", &schema, &mut found);
    found.sort();
    found.dedup();
    // A selector is whatever Mixpanel takes.
    assert_eq!(found, [".source.mixpanel_profiles.behaviors"]);
    let sinks = schema["properties"]["sink"]["anyOf"][0]["anyOf"]
        .as_array()
        .unwrap();
    let duckdb = sinks
        .iter()
        .find(|sink| sink["properties"]["type"]["const"] == "duckdb");
    let mode = &duckdb.unwrap()["properties"]["mode"];
    assert_eq!(
        mode["description"],
        "what happens to a table that is there (create | append | replace | replace_window, default create)"
    );
    assert_eq!(duckdb.unwrap()["required"], serde_json::json!(["type"]));
}
