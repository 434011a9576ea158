//! Where rows go, as a value.

use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A destination: what the lock, the history and the reports know it by.
///
/// Shown as ``table events in mixpanel.db``, or the path or name alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// A path, a URI, or the name of a stream or program: `mixpanel.db`,
    /// `s3://bucket/events`, `standard output`.
    pub uri: String,
    /// The table in it, where there are several.
    pub table: Option<String>,
    /// The service that has it, where its URI does not say it all: an endpoint, an
    /// account. Nothing secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The file or folder that a run writes, if it is one, so that two runs do
    /// not write it at the same time. A path that is no text has no form in
    /// JSON, so this does not travel.
    #[serde(skip)]
    pub path: Option<PathBuf>,
}

impl Destination {
    /// Returns the destination that is the file or folder `path`.
    pub fn at(path: impl Into<PathBuf>) -> Destination {
        let path = path.into();
        Destination {
            uri: path.display().to_string(),
            path: Some(path),
            ..Destination::default()
        }
    }

    /// Returns the destination that is no file: a stream, a program, a URI.
    pub fn named(name: impl Into<String>) -> Destination {
        Destination {
            uri: name.into(),
            ..Destination::default()
        }
    }

    /// Returns the destination of this URI that a service has.
    #[must_use]
    pub fn with_service(self, service: Option<String>) -> Destination {
        Destination { service, ..self }
    }

    /// Returns the table `table` of this destination.
    #[must_use]
    pub fn with_table(self, table: impl Into<String>) -> Destination {
        Destination {
            table: Some(table.into()),
            ..self
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.table {
            Some(table) => write!(f, "table {table} in {}", self.uri),
            None => f.write_str(&self.uri),
        }
    }
}

impl<'de> Deserialize<'de> for Destination {
    /// Reads a destination, or the text that reports had until 0.1.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Destination, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Destination;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a destination")
            }

            fn visit_str<E>(self, text: &str) -> Result<Destination, E> {
                Ok(Destination::named(text))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Destination, A::Error> {
                #[derive(Default, Deserialize)]
                #[serde(default)]
                struct Shape {
                    uri: String,
                    table: Option<String>,
                    service: Option<String>,
                }
                let shape = Shape::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Destination {
                    uri: shape.uri,
                    table: shape.table,
                    service: shape.service,
                    path: None,
                })
            }
        }

        from.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_shown_with_its_table_and_read_back() {
        let table = Destination::at("out/mixpanel.db").with_table("events");
        assert_eq!(table.to_string(), "table events in out/mixpanel.db");
        let text = serde_json::to_string(&table).expect("it is JSON");
        assert_eq!(text, r#"{"uri":"out/mixpanel.db","table":"events"}"#);
        let back: Destination = serde_json::from_str(&text).expect("it is a destination");
        assert_eq!((back.uri, back.table), (table.uri, table.table));
        let minio = Destination::named("s3://a").with_service(Some("http://b".to_owned()));
        let text = serde_json::to_string(&minio).expect("it is JSON");
        let back: Destination = serde_json::from_str(&text).expect("it is a destination");
        assert_eq!(back, minio);
    }

    #[test]
    fn the_text_of_older_reports_is_read() {
        let back: Destination = serde_json::from_str(r#""table events in a.db""#).expect("a text");
        assert_eq!(back, Destination::named("table events in a.db"));
    }
}
