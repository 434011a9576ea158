//! The settings of a project, and what is said when settings are wrong.

use mixflow_core::config::{Invalid, TextOrNumber};
use mixflow_core::{Error, ErrorKind};
use mixflow_source_mixpanel::options::{AuthOptions, Region};
use mixflow_source_mixpanel::quota::LimitOptions;
use mixflow_source_mixpanel::retry::RetryOptions;
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;

/// Whose data is asked for, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Project {
    pub(super) id: Option<TextOrNumber>,
    pub(super) region: Option<String>,
    pub(super) auth: Option<AuthOptions>,
    pub(super) base_url: Option<String>,
    pub(super) retry: RetryOptions,
    pub(super) limits: LimitOptions,
}

impl Project {
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_ref().map(|id| id.0.as_str())
    }

    /// Reads the region.
    pub(super) fn region(&self) -> Result<Option<Region>, Vec<Invalid>> {
        let Some(text) = self.region.as_deref() else {
            return Ok(None);
        };
        let read = Region::deserialize(text.into_deserializer());
        read.map(Some).map_err(|error: serde::de::value::Error| {
            vec![Invalid::new("source.region", error.to_string())]
        })
    }
}

/// Says where in the settings something is wrong.
pub(super) fn within(table: &str, all: Vec<Invalid>) -> Vec<Invalid> {
    let place = |key: String| match key.as_str() {
        "" => table.to_owned(),
        key => format!("{table}.{key}"),
    };
    all.into_iter()
        .map(|each| Invalid::new(place(each.key), each.message))
        .collect()
}

/// Makes one error of all that is wrong.
pub(super) fn wrong(invalid: Vec<Invalid>) -> Error {
    let texts = invalid.iter();
    let texts = texts.map(|each| format!("`{}`: {}", each.key, each.message));
    Error::new(ErrorKind::Config, "the settings are wrong")
        .because(texts.collect::<Vec<_>>().join("; "))
}
