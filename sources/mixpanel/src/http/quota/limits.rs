//! The limits of an endpoint, as a pipeline file or Mixpanel gives them.

use schemars::JsonSchema;
use serde::Deserialize;

/// The `[source.limits]` table.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitOptions {
    /// Requests a second.
    pub per_second: Option<u32>,
    /// Requests an hour.
    pub per_hour: Option<u32>,
    /// Requests at once.
    pub concurrent: Option<u32>,
}

/// The limits of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests a second.
    pub per_second: u32,
    /// Requests an hour.
    pub per_hour: u32,
    /// Requests at once.
    pub concurrent: u32,
    /// Whether a pipeline says how many an hour, so that the server does not.
    pub hour_is_given: bool,
}

impl Limits {
    /// What Mixpanel documents for the export endpoint.
    pub const EXPORT: Limits = Limits {
        per_second: 3,
        per_hour: 60,
        concurrent: 100,
        hour_is_given: false,
    };

    /// What Mixpanel documents for the query endpoints, profiles among them.
    ///
    /// It names no figure a second for these.
    pub const ENGAGE: Limits = Limits {
        per_second: u32::MAX,
        per_hour: 60,
        concurrent: 5,
        hour_is_given: false,
    };

    /// Returns these limits with what a pipeline file says put in.
    pub fn with(self, options: LimitOptions) -> Limits {
        Limits {
            per_second: options.per_second.unwrap_or(self.per_second),
            per_hour: options.per_hour.unwrap_or(self.per_hour),
            concurrent: options.concurrent.unwrap_or(self.concurrent),
            hour_is_given: options.per_hour.is_some(),
        }
    }
}
