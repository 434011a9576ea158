//! The JSON Schema of pipeline files, of draft 7, which editors take for TOML.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::alarms::{NOTIFY_DOC, NotifyTable};
use super::archive::{ARCHIVE_DOC, ArchiveTable};
use super::projects::{PROJECT_DOC, ProjectTable};
use super::run::{RUN_DOC, RunTable};
use crate::registry::{ComponentDoc, Registry};

/// What stands for a value that comes from a variable.
const VARIABLE: &str = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}";

/// Returns the JSON Schema of the pipeline files that a binary with these
/// components takes.
///
/// It tells of names, types and words, not of what does not go together: that is
/// for `check`.
pub fn schema(registry: &Registry) -> Value {
    let sources = registry.source_schemas();
    let sources = sources.map(|(doc, schema)| component(doc, schema, Some(WORKERS)));
    let transforms = registry.transform_schemas();
    let transforms = transforms.map(|(doc, schema)| component(doc, schema, None));
    let sinks = registry.sink_schemas();
    let sinks = sinks.map(|(doc, schema)| component(doc, schema, None));
    let sinks = choice(sinks.collect());
    let several = json!({
        "type": "array",
        "description": "several sinks, as [[sink]]: one fetch, each its own transaction",
        "items": sinks,
        "minItems": 1
    });
    let table = |doc: &ComponentDoc, schema: Value| described(tidy(schema), doc);
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "mixflow pipeline",
        "type": "object",
        "properties": {
            "name": { "type": "string", "description": "the pipeline's name in reports (default: the file's name)" },
            "project": { "type": "array", "items": table(&PROJECT_DOC, schema_of::<ProjectTable>()) },
            "source": choice(sources.collect()),
            "transform": {
                "type": "array",
                "description": "what happens to rows on their way, in this order",
                "items": choice(transforms.collect())
            },
            "sink": { "anyOf": [sinks, several] },
            "run": table(&RUN_DOC, schema_of::<RunTable>()),
            "archive": table(&ARCHIVE_DOC, schema_of::<ArchiveTable>()),
            "notify": table(&NOTIFY_DOC, schema_of::<NotifyTable>())
        },
        "required": ["source", "sink"],
        "additionalProperties": false
    })
}

/// Returns the JSON Schema of a type, with everything in its place.
pub(crate) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().into()
}

/// A key that stands beside a component's own, and what it does.
type Beside = (&'static str, &'static str);

/// `workers` may stand in `[source]`, too.
const WORKERS: Beside = (
    "workers",
    "how many windows or pages are read at the same time",
);

/// Returns the schema of a component with these options; of those whose schema
/// is not known, any value will do.
fn component(doc: &ComponentDoc, schema: Option<Value>, beside: Option<Beside>) -> Value {
    let unknown = || {
        let top = doc
            .options
            .iter()
            .filter(|option| !option.name.contains('.'));
        let properties = top.map(|option| (option.name.to_owned(), json!({})));
        json!({
            "type": "object",
            "properties": properties.collect::<Map<_, _>>(),
            "additionalProperties": false
        })
    };
    let mut schema = described(schema.map_or_else(unknown, tidy), doc);
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    schema["properties"]["type"] = json!({ "const": doc.name, "description": doc.about });
    if let Some((name, about)) = beside {
        schema["properties"][name] =
            json!({ "type": "integer", "minimum": 1, "description": about });
    }
    let required = schema["required"].as_array().into_iter().flatten();
    let required = std::iter::once("type").chain(required.filter_map(Value::as_str));
    schema["required"] = json!(required.collect::<Vec<_>>());
    schema["additionalProperties"] = json!(false);
    schema
}

/// Returns the schema of a table that is one of these, as its `type` says.
fn choice(tables: Vec<Value>) -> Value {
    // The types once more, so that an editor can offer them before there is one.
    let types: Vec<Value> = tables
        .iter()
        .map(|table| table["properties"]["type"]["const"].clone())
        .collect();
    json!({
        "type": "object",
        "properties": { "type": { "enum": types } },
        "required": ["type"],
        "anyOf": tables
    })
}

/// Describes the options of a table as `mixflow components` does.
fn described(mut schema: Value, doc: &ComponentDoc) -> Value {
    schema["description"] = json!(doc.about);
    for option in doc.options {
        let mut place = Some(&mut schema);
        for key in option.name.split('.') {
            place = place.and_then(|table| table.get_mut("properties")?.get_mut(key));
        }
        if let Some(place) = place.filter(|place| place.is_object()) {
            place["description"] = json!(format!("{} ({})", option.about, option.value));
        }
    }
    schema
}

/// Returns the schema as TOML has its values: without null, and with variables
/// where words are chosen from.
fn tidy(schema: Value) -> Value {
    let Value::Object(mut object) = schema else {
        return schema;
    };
    for key in ["title", "default", "format", "description"] {
        object.remove(key);
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            object["type"] = only.clone();
        }
    }
    for key in ["anyOf", "oneOf"] {
        let Some(Value::Array(choices)) = object.remove(key) else {
            continue;
        };
        let is_null = |choice: &Value| *choice == json!({ "type": "null" });
        let choices: Vec<Value> = choices.into_iter().filter(|one| !is_null(one)).collect();
        if let Some(words) = words(&choices) {
            object.insert("type".to_owned(), json!("string"));
            object.insert("enum".to_owned(), json!(words));
            continue;
        }
        let mut choices: Vec<Value> = choices.into_iter().map(tidy).collect();
        if choices.len() == 1
            && let Some(Value::Object(only)) = choices.pop()
        {
            object.extend(only);
        } else {
            object.insert("anyOf".to_owned(), Value::Array(choices));
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    for key in ["properties", "patternProperties"] {
        if let Some(Value::Object(members)) = object.get_mut(key) {
            for member in members.values_mut() {
                *member = tidy(member.take());
            }
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(value) = object.get_mut(key) {
            *value = tidy(value.take());
        }
    }
    or_variable(object)
}

/// Returns the words of a choice between nothing but words; each of them stands
/// alone where it has a description.
fn words(choices: &[Value]) -> Option<Vec<&Value>> {
    let mut words = Vec::new();
    for choice in choices {
        match (&choice["const"], &choice["enum"]) {
            (word @ Value::String(_), _) => words.push(word),
            (_, Value::Array(several)) => words.extend(several),
            _ => return None,
        }
    }
    Some(words)
}

/// Lets a variable stand for a word, or for a text that must look like something.
fn or_variable(object: Map<String, Value>) -> Value {
    let is_word = object.contains_key("enum") || object.contains_key("const");
    let has_form = object.get("type") == Some(&json!("string")) && object.contains_key("pattern");
    let schema = Value::Object(object);
    if is_word || has_form {
        json!({ "anyOf": [schema, { "type": "string", "pattern": VARIABLE }] })
    } else {
        schema
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroUsize;

    use serde::Deserialize;

    use super::*;
    use crate::config::{DateSpec, SecretSource};

    /// What serde makes of it.
    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its form is of use")]
    struct Options {
        /// Not for people.
        path: std::path::PathBuf,
        count: Option<NonZeroUsize>,
        day: Option<DateSpec>,
        word: Option<Word>,
        secret: Option<SecretSource>,
        names: Option<BTreeMap<String, String>>,
        #[serde(default)]
        within: Within,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        /// The first.
        One,
        Two,
    }

    #[derive(Default, Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its form is of use")]
    struct Within {
        flag: Option<bool>,
    }

    #[test]
    fn a_schema_has_neither_null_nor_what_is_said_to_programmers() {
        let schema = tidy(schema_of::<Options>());
        let text = schema.to_string();
        assert!(!text.contains("null"), "{text}");
        assert!(!text.contains("Not for people"), "{text}");
        let of = |key: &str| &schema["properties"][key];
        assert_eq!(of("path"), &json!({ "type": "string" }));
        assert_eq!(of("count"), &json!({ "type": "integer", "minimum": 1 }));
        assert_eq!(schema["required"], json!(["path"]));
        let variable = json!({ "type": "string", "pattern": VARIABLE });
        assert_eq!(of("day")["anyOf"][1], variable);
        let words = &of("word")["anyOf"];
        let named = words[0]["enum"].as_array().expect("they are words");
        assert!(named.len() == 2 && named.contains(&json!("one")));
        assert_eq!(words[1], variable);
        assert_eq!(of("secret")["anyOf"].as_array().map(Vec::len), Some(4));
        let flag = &of("within")["properties"]["flag"];
        assert_eq!(flag, &json!({ "type": "boolean" }));
    }
}
