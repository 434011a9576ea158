//! A pipeline as another machine can build it, without its secrets.

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use super::keys::join;
use super::mask::is_secret_key;
use super::sensitive::is_telling_url;

/// What may stand under a key for secrets and is none.
const NO_SECRETS: [&str; 3] = ["username", "type", "name"];

/// Returns `root`, with what may be a secret as it stands in `written`, where
/// variables are not yet replaced.
///
/// Fails with the keys of secrets in plain text.
pub(super) fn table(
    root: &DeTable<'_>,
    written: &DeTable<'_>,
) -> Result<Map<String, Value>, Vec<String>> {
    let mut plain = Vec::new();
    let object = object(root, Some(written), "", &mut plain);
    match plain.is_empty() {
        true => Ok(object),
        false => Err(plain),
    }
}

fn object(
    table: &DeTable<'_>,
    written: Option<&DeTable<'_>>,
    path: &str,
    plain: &mut Vec<String>,
) -> Map<String, Value> {
    let entries = table.iter().map(|(key, value)| {
        let key = key.get_ref();
        let written = written.and_then(|table| table.get(key.as_ref()));
        let path = join(path, key);
        let written = written.map(|value| value.get_ref());
        (
            key.to_string(),
            portable(value.get_ref(), written, &path, plain),
        )
    });
    entries.collect()
}

fn portable(
    value: &DeValue<'_>,
    written: Option<&DeValue<'_>>,
    path: &str,
    plain: &mut Vec<String>,
) -> Value {
    match value {
        DeValue::Table(table) if is_reference(table) => {
            // Where a secret is to be found, on whichever machine.
            let written = written.and_then(DeValue::as_table).unwrap_or(table);
            Value::Object(object(written, None, "", plain))
        }
        DeValue::Table(table) => {
            let written = written.and_then(DeValue::as_table);
            Value::Object(object(table, written, path, plain))
        }
        DeValue::Array(items) => {
            let written = written.and_then(DeValue::as_array);
            let items = items.iter().enumerate().map(|(n, item)| {
                let written = written.and_then(|items| items.get(n));
                let written = written.map(|item| item.get_ref());
                portable(item.get_ref(), written, &join(path, &n.to_string()), plain)
            });
            items.collect()
        }
        DeValue::String(text) => {
            let written = written.and_then(DeValue::as_str).unwrap_or(text);
            if !may_be_secret(path, text) {
                return Value::from(text.as_ref());
            }
            // A default behind a variable is plain text as well.
            if !written.contains("${") || written.contains(":-") {
                plain.push(path.to_owned());
            }
            Value::from(written)
        }
        DeValue::Integer(number) => {
            if may_be_secret(path, "") {
                plain.push(path.to_owned());
            }
            let digits = number.as_str().replace('_', "");
            let parsed = i64::from_str_radix(&digits, number.radix());
            parsed.map_or_else(|_| Value::from(digits), Value::from)
        }
        DeValue::Float(number) => {
            let parsed: Option<f64> = number.as_str().replace('_', "").parse().ok();
            let number = parsed.and_then(Number::from_f64);
            number.map_or(Value::Null, Value::Number)
        }
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Datetime(datetime) => Value::from(datetime.to_string()),
    }
}

/// Whether a table says where a secret is: `{ env = "NAME" }`.
fn is_reference(table: &DeTable<'_>) -> bool {
    let mut keys = table.keys();
    let is_place = |key: &str| matches!(key, "env" | "file" | "command");
    keys.next().is_some_and(|key| is_place(key.get_ref())) && keys.next().is_none()
}

fn may_be_secret(path: &str, text: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or_default();
    is_telling_url(text) || (is_secret_key(path) && !NO_SECRETS.contains(&last))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::config::{Document, Env};

    fn env() -> Env {
        Env::new(|name| match name {
            "PROJECT" => Some("12345".to_owned()),
            "SECRET" => Some("hunter22".to_owned()),
            _ => None,
        })
    }

    fn portable(text: &str) -> Result<serde_json::Value, Vec<String>> {
        let document = Document::parse("p.toml", text, &env(), &[]);
        document.portable().map(serde_json::Value::Object)
    }

    #[test]
    fn variables_are_replaced_and_secrets_are_not() {
        let text = r#"
            [source]
            project_id = "${PROJECT}"
            from = 2024-01-01
            time_in_ms = false
            auth = { username = "ann", secret = "${SECRET}" }
            [[transform]]
            type = "hash"
            key = { env = "SECRET" }
            columns = ["distinct_id"]
            [[transform]]
            type = "sample"
            rate = 0.5
            [notify.webhook]
            url = { file = "~/hook" }
            [run]
            workers = 1_0
        "#;
        let expected = json!({
            "source": {
                "project_id": "12345", "from": "2024-01-01", "time_in_ms": false,
                "auth": { "username": "ann", "secret": "${SECRET}" },
            },
            "transform": [
                { "type": "hash", "key": { "env": "SECRET" }, "columns": ["distinct_id"] },
                { "type": "sample", "rate": 0.5 },
            ],
            "notify": { "webhook": { "url": { "file": "~/hook" } } },
            "run": { "workers": 10 },
        });
        assert_eq!(portable(text), Ok(expected));
    }

    #[test]
    fn secrets_in_plain_text_are_named_by_their_keys() {
        let text = r#"
            [source]
            base_url = "http://ann:pw@127.0.0.1"
            auth = { username = "ann", secret = "hunter22" }
            [[transform]]
            type = "hash"
            key = "${SECRET:-other}"
            [sink]
            token = 12345678
        "#;
        assert_eq!(
            portable(text),
            Err([
                "sink.token",
                "source.auth.secret",
                "source.base_url",
                "transform.0.key"
            ]
            .map(str::to_owned)
            .to_vec())
        );
    }
}
