//! From the JSON of a pipeline's options to an author's type.

use std::collections::BTreeSet;

use mixflow_core::config::{Invalid, explain};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads options; names everything that is wrong with them, by key.
pub(crate) fn read<T: DeserializeOwned>(mut options: Value) -> Result<T, Vec<Invalid>> {
    let mut wrong = Vec::new();
    let mut removed = BTreeSet::new();
    loop {
        let error = match serde_path_to_error::deserialize(options.clone()) {
            Ok(_) if !wrong.is_empty() => return Err(wrong),
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        let path = error.path().to_string();
        let message = explain(&error.inner().to_string());
        // serde stops at the first error. Without the key that it is about, it
        // goes on to the next.
        let key = path.split(['.', '[']).next().unwrap_or_default();
        if options
            .as_object_mut()
            .is_some_and(|o| o.remove(key).is_some())
        {
            removed.insert(key.to_owned());
            wrong.push(Invalid::new(path, message));
            continue;
        }
        let is_of_removed = removed
            .iter()
            .any(|key| message == format!("missing field `{key}`"));
        if !is_of_removed {
            wrong.push(Invalid::new("", message));
        }
        return Err(wrong);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        path: String,
        #[serde(default)]
        retry: Retry,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Retry {
        times: u32,
    }

    fn wrong(options: Value) -> Vec<(String, String)> {
        let wrong = read::<Options>(options).expect_err("they are wrong");
        wrong.into_iter().map(|w| (w.key, w.message)).collect()
    }

    #[test]
    fn options_are_read() {
        let options = read(json!({"path": "a", "retry": {"times": 3}}));
        let expected = Options {
            path: "a".to_owned(),
            retry: Retry { times: 3 },
        };
        assert_eq!(options, Ok(expected));
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let found = wrong(json!({"path": 1, "paht": "a", "retry": {"times": "x"}}));
        let expected = [
            (
                "paht",
                "unknown field `paht`, expected `path` or `retry`, did you mean `path`?",
            ),
            ("path", "invalid type: integer `1`, expected a string"),
            (
                "retry.times",
                "invalid type: string \"x\", expected a whole number from 0",
            ),
        ];
        let mut found: Vec<(&str, &str)> = found
            .iter()
            .map(|(key, message)| (key.as_str(), message.as_str()))
            .collect();
        found.sort();
        assert_eq!(found, expected);
        assert_eq!(
            wrong(json!({})),
            [("".to_owned(), "missing field `path`".to_owned())]
        );
    }
}
