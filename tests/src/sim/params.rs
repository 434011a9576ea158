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
    fn names_are_a_json_array() {
        assert_eq!(names("event", r#"["a", 1]"#).unwrap(), ["a", "1"]);
        for text in ["a", "[true]", "{}", "[\"a\""] {
            assert!(names("event", text).is_err(), "{text}");
        }
    }
}
