//! The parameters of a request, from the query string and the form.

use serde_json::Value;

/// Decoded parameters with the checks that both endpoints share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Params<'a> {
    pub(super) query: &'a [(String, String)],
    pub(super) form: &'a [(String, String)],
}

impl<'a> Params<'a> {
    /// Returns a parameter that is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let mut params = self.query.iter().chain(self.form);
        let found = params.find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a str, String> {
        self.get(name)
            .ok_or_else(|| format!("{name} is a required parameter"))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        match self.get(name) {
            None => Ok(None),
            Some("true" | "True" | "1") => Ok(Some(true)),
            Some("false" | "False" | "0") => Ok(Some(false)),
            Some(_) => Err(format!("{name} must be true or false")),
        }
    }
}

/// Reads a JSON body: an object of parameters. A text is taken as it is, any
/// other value as its JSON, and `null` is a parameter that is missing.
pub(super) fn of_json(body: &[u8]) -> Result<Vec<(String, String)>, String> {
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let object: serde_json::Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| format!("the body is not a JSON object: {error}"))?;
    let given = object.into_iter().filter(|(_, value)| !value.is_null());
    Ok(given
        .map(|(key, value)| match value {
            Value::String(text) => (key, text),
            value => (key, value.to_string()),
        })
        .collect())
}

/// Parses a JSON array of strings; numbers are taken as text.
pub(super) fn names(parameter: &str, text: &str) -> Result<Vec<String>, String> {
    let error = || format!("{parameter} must be a JSON array of strings");
    let items: Vec<Value> = serde_json::from_str(text).map_err(|_| error())?;
    let texts = items.into_iter().map(|item| match item {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(error()),
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parameters_are_missing() {
        let pair = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        let params = Params {
            query: &pair("where", ""),
            form: &pair("page", "1"),
        };
        assert_eq!(params.get("where"), None);
        assert_eq!(params.get("page"), Some("1"));
        assert!(params.required("where").is_err());
    }

    #[test]
    fn a_json_body_is_an_object_of_parameters() {
        let body = br#"{"page": 2, "where": "1 == 1", "distinct_ids": ["a", 1],
            "filter_by_cohort": {"id": 7}, "include_all_users": false, "session_id": null}"#;
        let mut found = of_json(body).unwrap();
        found.sort();
        let expected = [
            ("distinct_ids", r#"["a",1]"#),
            ("filter_by_cohort", r#"{"id":7}"#),
            ("include_all_users", "false"),
            ("page", "2"),
            ("where", "1 == 1"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(found, expected);
        assert_eq!(of_json(b" \n"), Ok(Vec::new()));
        for body in ["[1]", "{", "page=1"] {
            assert!(of_json(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn names_are_a_json_array() {
        assert_eq!(names("event", r#"["a", 1]"#).unwrap(), ["a", "1"]);
        for text in ["a", "[true]", "{}", "[\"a\""] {
            assert!(names("event", text).is_err(), "{text}");
        }
    }
}
