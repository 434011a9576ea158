//! From the TOML of `options` to the JSON that a library is given.

use mixflow_core::config::Invalid;
use serde_json::{Map, Value};
use toml::Table;

/// Returns `table` as JSON. Dates and times become text.
pub(crate) fn to_json(table: Table) -> Result<Value, Vec<Invalid>> {
    let mut wrong = Vec::new();
    let json = object("options", table, &mut wrong);
    if wrong.is_empty() {
        Ok(json)
    } else {
        Err(wrong)
    }
}

fn object(path: &str, table: Table, wrong: &mut Vec<Invalid>) -> Value {
    let members = table.into_iter().map(|(key, value)| {
        let value = value_of(&format!("{path}.{key}"), value, wrong);
        (key, value)
    });
    Value::Object(members.collect::<Map<_, _>>())
}

fn value_of(path: &str, value: toml::Value, wrong: &mut Vec<Invalid>) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Boolean(flag) => Value::from(flag),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Float(number) => {
            if !number.is_finite() {
                wrong.push(Invalid::new(
                    path,
                    "a library cannot be given `nan` or `inf`",
                ));
            }
            Value::from(number)
        }
        toml::Value::Array(items) => {
            let items = items.into_iter().enumerate();
            items
                .map(|(n, item)| value_of(&format!("{path}.{n}"), item, wrong))
                .collect()
        }
        toml::Value::Table(table) => object(path, table, wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_toml_has_a_form_in_json() {
        let toml = r#"
            text = "a"
            whole = -3
            part = 1.5
            flag = true
            day = 2024-01-31
            list = [1, { deep = "b" }]
        "#;
        let json = to_json(toml.parse().expect("TOML")).expect("it has a form");
        let expected = r#"{"text":"a","whole":-3,"part":1.5,"flag":true,"day":"2024-01-31","list":[1,{"deep":"b"}]}"#;
        let expected: Value = serde_json::from_str(expected).expect("JSON");
        assert_eq!(json, expected);
    }

    #[test]
    fn a_number_that_json_lacks_is_named() {
        let wrong = to_json("a = { b = [nan] }".parse().expect("TOML")).expect_err("no form");
        assert_eq!(wrong[0].key, "options.a.b.0");
    }
}
