//! What is known of a pipeline that cannot be built.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::alarms::Alarms;
use super::document::Document;
use super::path::local_path;

/// What can be read of a pipeline's text although no pipeline comes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its name, if the text has one.
    pub name: Option<String>,
    /// Every path that its rows may be meant for: the texts of its sinks.
    pub places: Vec<PathBuf>,
    /// Who is to be told of its runs.
    pub alarms: Alarms,
}

impl Known {
    /// Reads what can be read. `home` is what `~` stands for.
    pub fn of(document: &Document<'_>, home: Option<&Path>) -> Known {
        let root = document.root();
        let name = root.get("name").and_then(|name| name.get_ref().as_str());
        let mut texts = Vec::new();
        if let Some(sink) = root.get("sink") {
            collect(sink.get_ref(), &mut texts);
        }
        let path = |text: &&str| local_path(Path::new(text), home).ok();
        Known {
            name: name.map(|name| document.shown(name)),
            places: texts.iter().filter_map(path).collect(),
            alarms: Alarms::known(document, home),
        }
    }
}

/// Collects the texts in a value, however deep.
fn collect<'v>(value: &'v DeValue<'_>, texts: &mut Vec<&'v str>) {
    match value {
        DeValue::String(text) => texts.push(text),
        DeValue::Array(items) => items.iter().for_each(|item| collect(item.get_ref(), texts)),
        DeValue::Table(table) => values(table).for_each(|value| collect(value, texts)),
        _ => {}
    }
}

fn values<'v, 't>(table: &'v DeTable<'t>) -> impl Iterator<Item = &'v DeValue<'t>> {
    table.values().map(toml::Spanned::get_ref)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;

    fn known(text: &str) -> Known {
        let env = Env::fixed([("FOLDER", "out")]);
        let document = Document::parse("a.toml", text, &env, &[]);
        Known::of(&document, Some(Path::new("/home/ann")))
    }

    #[test]
    fn the_name_and_the_places_of_sinks_are_read_as_far_as_they_go() {
        let text = "name = \"daily\"\nnonsense = 1\n[[sink]]\ntype = \"duckdb\"\npath = \"${FOLDER}/a.db\"\n\
                    [[sink]]\npath = \"~/b\"\noptions = { file = [\"c\"] }\n";
        let found = known(text);
        assert_eq!(found.name.as_deref(), Some("daily"));
        let places = ["duckdb", "out/a.db", "/home/ann/b", "c"].map(PathBuf::from);
        assert_eq!(found.places.len(), places.len());
        assert!(places.iter().all(|place| found.places.contains(place)));
    }

    #[test]
    fn who_is_to_be_told_is_read_of_a_file_that_is_wrong() {
        let found = known(
            "[source]\ntype = 1\n[run]\nworkers = 0\nmetrics = \"~/a.prom\"\n[notify]\ncommand = [\"mail\"]\n",
        );
        assert_eq!(
            found.alarms.metrics,
            Some(PathBuf::from("/home/ann/a.prom"))
        );
        let notify = found.alarms.notify.expect("the table is right");
        assert_eq!(notify.command, Some(vec!["mail".to_owned()]));
        assert_eq!(notify.on.len(), 3);
        // A table that is wrong itself says nothing for sure.
        let wrong = "[notify]\ncommand = [\"mail\"]\nonn = []\n";
        assert_eq!(known(wrong).alarms.notify, None);
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        assert_eq!(known("[source\nname = 1"), Known::default());
        let found = known("[sink]\npath = \"a.db\"\n[source\n");
        assert_eq!(found.places, [PathBuf::from("a.db")]);
    }
}
