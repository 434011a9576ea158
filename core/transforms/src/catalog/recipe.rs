//! An `extract` for the properties of a catalogue.

use std::fmt::Write as _;

use super::super::extract::ColumnType;
use super::super::json::JsonPath;
use super::super::naming::column_names;
use super::Catalog;

impl Catalog {
    /// Returns the part of a pipeline file that makes a column of each property,
    /// the fullest first; `reserved` are the columns that there are without it.
    ///
    /// `None` if no property has a value.
    pub fn extract_toml(&self, reserved: &[&str]) -> Option<String> {
        let properties = self.properties.iter();
        let typed: Vec<(&str, ColumnType)> = properties
            .filter_map(|one| Some((&*one.property, ColumnType::of_all(&one.types)?)))
            .collect();
        if typed.is_empty() {
            return None;
        }
        let keys = typed.iter().map(|(key, _)| *key);
        let names = column_names(keys, reserved.iter().copied());
        let mut toml = "[[transform]]\ntype = \"extract\"\ncolumns = [\n".to_owned();
        for ((key, kind), name) in typed.into_iter().zip(names) {
            let _ = writeln!(toml, "{}", column(key, kind, &name));
        }
        toml.push_str("]\n");
        Some(toml)
    }
}

/// Returns the line of a column.
fn column(key: &str, kind: ColumnType, name: &str) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    if key.contains("${") {
        // A pipeline file would put a variable there.
        return format!(
            "    # no column of {}: `${{` stands for a variable",
            key.escape_default()
        );
    }
    let mut line = format!("    {{ name = {}, type = \"{kind}\"", text(name));
    if name != key {
        let path = JsonPath::of_key(key).to_string();
        let _ = write!(line, ", path = {}", text(&path));
    }
    line + " },"
}
