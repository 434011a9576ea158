//! `[[project]]`: one pipeline for each of several projects.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::keys::join;
use super::values::TextOrNumber;
use crate::registry::{ComponentDoc, OptionDoc};

/// What stands for the project in paths and tables.
const PLACE: &str = "{project}";

/// Where it stands for that.
const FILLED: [&str; 5] = ["name", "sink", "run", "archive", "notify"];

/// One `[[project]]` table, as its schema knows it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProjectTable {
    id: TextOrNumber,
    name: Option<String>,
    /// As in `[source]`, whose schema has it.
    #[allow(dead_code, reason = "the source reads it")]
    auth: Option<Value>,
    #[allow(dead_code, reason = "the source reads it")]
    region: Option<String>,
}

/// What `mixflow components` shows of the `[[project]]` tables.
pub const PROJECT_DOC: ComponentDoc = ComponentDoc {
    name: "project",
    about: "one of several projects: the pipeline is run for each, with its own quota and ledger",
    options: &[
        OptionDoc::new(
            "id",
            "text or number",
            "the project: `project_id` of the source",
        ),
        OptionDoc::new(
            "name",
            "text (default: id)",
            "stands for `{project}` in the name, in paths and tables of sinks, and in `archive`, `metrics` and `notify`",
        ),
        OptionDoc::new("auth", "table (default: the source's)", "its credentials"),
        OptionDoc::new(
            "region",
            "us | eu | in (default: the source's)",
            "where it is",
        ),
    ],
};

/// The `[[project]]` tables of a text.
#[derive(Debug, Default)]
pub(super) struct Projects<'t> {
    all: Option<Spanned<DeValue<'t>>>,
    /// The name and the id of each, or what is wrong with one.
    known: Option<Result<Vec<Project>, WrongProject>>,
}

/// What a project is called.
#[derive(Clone, Debug)]
struct Project {
    name: String,
    id: String,
}

impl<'t> Projects<'t> {
    /// Takes the tables out of the text, before anything is set from outside.
    pub(super) fn take(root: &mut DeTable<'t>) -> Projects<'t> {
        let all = root.remove("project");
        let known = all.as_ref().map(|all| match all.get_ref() {
            DeValue::Array(tables) => known(tables),
            _ => {
                let message = "projects are written as `[[project]]`";
                Err(WrongProject::new(message).at(all.span()))
            }
        });
        Projects { all, known }
    }

    /// Returns the names of the projects, in their order, as far as they can be read.
    pub(super) fn names(&self) -> Vec<String> {
        if let Some(Ok(known)) = &self.known {
            return known.iter().map(|project| project.name.clone()).collect();
        }
        let Some(DeValue::Array(tables)) = self.all.as_ref().map(Spanned::get_ref) else {
            return Vec::new();
        };
        let names = tables.iter().map(|table| {
            let shown = |key: &str| match table.get_ref() {
                DeValue::Table(table) => table.get(key).map(text_of),
                _ => None,
            };
            let shown = |key| shown(key).filter(|text| !text.is_empty());
            shown("name").or_else(|| shown("id")).unwrap_or_default()
        });
        names.collect()
    }

    /// Puts the project that is named under `project` into the pipeline, and returns
    /// its name; `None` for a pipeline of one project.
    pub(super) fn choose(&self, root: &mut DeTable<'t>) -> Result<Option<String>, WrongProject> {
        let wanted = root.remove("project");
        let (Some(all), Some(known)) = (&self.all, &self.known) else {
            return match wanted {
                None => Ok(None),
                Some(_) => Err(WrongProject::new(
                    "there is no `[[project]]` to choose from",
                )),
            };
        };
        let known = known.as_ref().map_err(WrongProject::clone)?;
        let names = || {
            let names = known.iter().map(|project| format!("`{}`", project.name));
            names.collect::<Vec<_>>().join(", ")
        };
        let Some(wanted) = wanted.as_ref().map(text_of) else {
            return Err(WrongProject::new(format!(
                "this is a pipeline for each of several projects: choose one with `--set project=NAME`, of {}",
                names()
            )));
        };
        let mut projects = known.iter();
        let Some(n) = projects.position(|one| one.name == wanted || one.id == wanted) else {
            let message = format!("there is no project `{wanted}`; there are {}", names());
            return Err(WrongProject::new(message));
        };
        let name = known[n].name.clone();
        if let DeValue::Array(tables) = all.get_ref()
            && let DeValue::Table(table) = tables[n].get_ref()
        {
            put(table, root);
        }
        for key in FILLED {
            if let Some(value) = root.get_mut(key) {
                fill(value, &name);
            }
        }
        Ok(Some(name))
    }
}

/// What is wrong with `[[project]]`.
#[derive(Clone, Debug)]
pub(super) struct WrongProject {
    pub(super) path: String,
    pub(super) message: String,
    /// Where, if that is known.
    pub(super) span: Option<Range<usize>>,
}

impl WrongProject {
    fn new(message: impl Into<String>) -> WrongProject {
        WrongProject {
            path: "project".to_owned(),
            message: message.into(),
            span: None,
        }
    }

    fn at(self, span: Range<usize>) -> WrongProject {
        WrongProject {
            span: Some(span),
            ..self
        }
    }
}

/// Returns the name and the id of each project.
fn known(tables: &[Spanned<DeValue<'_>>]) -> Result<Vec<Project>, WrongProject> {
    let mut known: Vec<Project> = Vec::new();
    let mut names = HashSet::new();
    for (n, table) in tables.iter().enumerate() {
        let read = ProjectTable::deserialize(ValueDeserializer::from(table.clone()));
        let read = read.map_err(|error| WrongProject {
            path: join("project", &n.to_string()),
            message: error.message().to_owned(),
            span: error.span().or_else(|| Some(table.span())),
        })?;
        let id = read.id.0;
        let name = read.name.unwrap_or_else(|| id.clone());
        if !names.insert(name.clone()) {
            let message = format!("two projects are called `{name}`");
            return Err(WrongProject::new(message).at(table.span()));
        }
        known.push(Project { name, id });
    }
    Ok(known)
}

/// Returns a text or a number as a text.
fn text_of(value: &Spanned<DeValue<'_>>) -> String {
    match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.as_str().to_owned(),
        _ => String::new(),
    }
}

/// Puts what a project says into the source, in the place of what stands there.
fn put<'t>(project: &DeTable<'t>, root: &mut DeTable<'t>) {
    let Some(DeValue::Table(source)) = root.get_mut("source").map(Spanned::get_mut) else {
        return;
    };
    for (from, to) in [("id", "project_id"), ("auth", "auth"), ("region", "region")] {
        if let Some((key, value)) = project.get_key_value(from) {
            source.remove(to);
            source.insert(Spanned::new(key.span(), Cow::Borrowed(to)), value.clone());
        }
    }
}

/// Puts a project's name where its place is.
fn fill(value: &mut Spanned<DeValue<'_>>, name: &str) {
    match value.get_mut() {
        DeValue::String(text) if text.contains(PLACE) => {
            *text = Cow::Owned(text.replace(PLACE, name));
        }
        DeValue::Array(items) => items.iter_mut().for_each(|item| fill(item, name)),
        DeValue::Table(table) => {
            for (_, value) in table.iter_mut() {
                fill(value, name);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Document, Env, Override, OverrideValue, Parsed};

    const TEXT: &str = r#"
        [[project]]
        name = "shop"
        id = 1
        [[project]]
        id = "2"
        region = "eu"
        auth = { token = { env = "TOKEN" } }
        [source]
        project_id = "0"
        region = "us"
        where = "{project}"
        auth = { project_secret = { env = "SECRET" } }
        [[sink]]
        path = "data/{project}.db"
        table = "events_{project}"
    "#;

    fn of(text: &str, project: Option<&str>) -> Result<Value, String> {
        let wanted = project.map(|name| {
            let value = OverrideValue::Text(name.to_owned());
            Override::set("project", value, format!("--set project={name}"))
        });
        let changes: Vec<Override> = wanted.into_iter().collect();
        let document = Document::parse("p.toml", text, &Env::empty(), &changes);
        let portable = document.portable();
        document
            .into_problems()
            .map_err(|problems| problems.to_string())?;
        Ok(Value::Object(portable.expect("no secret is plain")))
    }

    #[test]
    fn each_project_has_a_pipeline_of_its_own() {
        assert_eq!(Parsed::of(TEXT).projects(), ["shop", "2"]);
        let shop = of(TEXT, Some("shop")).expect("it is there");
        assert_eq!(
            shop,
            json!({
                "source": {
                    "project_id": 1, "region": "us", "where": "{project}",
                    "auth": { "project_secret": { "env": "SECRET" } },
                },
                "sink": [{ "path": "data/shop.db", "table": "events_shop" }],
            })
        );
        let other = of(TEXT, Some("2")).expect("it is there");
        assert_eq!(other["source"]["region"], "eu");
        assert_eq!(
            other["source"]["auth"],
            json!({ "token": { "env": "TOKEN" } })
        );
        assert_eq!(other["sink"][0]["path"], "data/2.db");
        // Also by its id.
        assert_eq!(of(TEXT, Some("1")), Ok(shop));
    }

    #[test]
    fn one_must_be_chosen_and_be_there() {
        let why = of(TEXT, None).expect_err("there are two");
        assert!(
            why.contains("`--set project=NAME`, of `shop`, `2`"),
            "{why}"
        );
        let why = of(TEXT, Some("shoe")).expect_err("there is none");
        assert!(
            why.contains("no project `shoe`; there are `shop`, `2`"),
            "{why}"
        );
        let why = of("[source]", Some("shop")).expect_err("there is none");
        assert!(why.contains("no `[[project]]` to choose"), "{why}");
    }

    #[test]
    fn what_is_wrong_with_a_project_is_said() {
        let twice = "[[project]]\nid = 1\n[[project]]\nid = \"1\"";
        let why = of(twice, Some("1")).expect_err("twice");
        assert!(why.contains("two projects are called `1`"), "{why}");
        let why = of("[[project]]\nidd = 1", Some("1")).expect_err("a slip");
        assert!(why.contains("idd") && why.contains("`id`"), "{why}");
        let why = of("[project]\nid = 1", Some("1")).expect_err("one table");
        assert!(why.contains("`[[project]]`"), "{why}");
    }

    #[test]
    fn every_key_is_described() {
        crate::testing::assert_described::<ProjectTable>(&PROJECT_DOC);
    }
}
