//! What a pipeline file says about Mixpanel, read and checked.

use mixflow_core::config::{DateSpec, Days, TextOrNumber};
use mixflow_core::written_as;
use schemars::{JsonSchema, json_schema};
use serde::Deserialize;

pub use crate::auth::AuthOptions;
pub use crate::http::endpoint::Region;
use crate::http::quota::LimitOptions;
use crate::http::retry::RetryOptions;
use crate::project::ProjectOptions;

/// `from`: a day, or `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// This day.
    Day(DateSpec),
    /// The day after those that the destination has.
    Last,
}

impl<'de> Deserialize<'de> for From {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct FromVisitor;
        impl serde::de::Visitor<'_> for FromVisitor {
            type Value = From;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a date such as `2024-01-31`, `yesterday` or `last`")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<From, E> {
                match text {
                    "last" => Ok(From::Last),
                    day => day.parse().map(From::Day).map_err(E::custom),
                }
            }
        }
        from.deserialize_str(FromVisitor)
    }
}

written_as!(From, |generator| {
    let day = generator.subschema_for::<DateSpec>();
    json_schema!({ "anyOf": [{ "type": "string", "const": "last" }, day] })
});

impl std::convert::From<DateSpec> for From {
    fn from(day: DateSpec) -> From {
        From::Day(day)
    }
}

/// `window_days`: a number of days, or `"auto"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowDays {
    /// Chosen by span and quota.
    Auto,
    /// So many days.
    Days(u32),
}

impl<'de> Deserialize<'de> for WindowDays {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Window;
        impl serde::de::Visitor<'_> for Window {
            type Value = WindowDays;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of days from 1 to 3650, or `\"auto\"`")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<WindowDays, E> {
                match text {
                    "auto" => Ok(WindowDays::Auto),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
            fn visit_i64<E: serde::de::Error>(self, days: i64) -> Result<WindowDays, E> {
                u32::try_from(days)
                    .ok()
                    .filter(|days| (1..=3650).contains(days))
                    .map(WindowDays::Days)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Signed(days), &self))
            }
        }
        from.deserialize_any(Window)
    }
}

written_as!(WindowDays, {
    "anyOf": [
        { "type": "string", "const": "auto" },
        { "type": "integer", "minimum": 1, "maximum": 3650 }
    ]
});

/// The options of `mixpanel_events`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsOptions {
    /// The name of a connection: whoever reads the file puts what it stands for
    /// in its place, so that a source has no use for it.
    pub connection: Option<String>,
    /// The project's number.
    pub project_id: Option<TextOrNumber>,
    /// Where its data is kept.
    pub region: Option<Region>,
    /// The credentials.
    pub auth: Option<AuthOptions>,
    /// The first day, inclusive.
    pub from: Option<From>,
    /// The last day, inclusive.
    pub to: Option<DateSpec>,
    /// The first day that is ever wanted.
    pub start: Option<DateSpec>,
    /// Moves `from` back to catch late events.
    pub lookback: Option<Days>,
    /// The names of the events wanted; all if not given.
    pub events: Option<Vec<String>>,
    /// An expression that events must satisfy.
    #[serde(rename = "where")]
    pub where_: Option<String>,
    /// The size of a partition.
    pub window_days: Option<WindowDays>,
    /// The most events; needs one window.
    pub limit: Option<i64>,
    /// Whether to ask for times in milliseconds.
    pub time_in_ms: Option<bool>,
    /// A legacy project's zone.
    pub timezone: Option<String>,
    /// Replaces scheme and host of the endpoint.
    pub base_url: Option<String>,
    /// Records that may be rejected before the run fails.
    pub max_rejects: Option<u64>,
    /// How to try again.
    #[serde(default)]
    pub retry: RetryOptions,
    /// Limits other than the documented ones.
    #[serde(default)]
    pub limits: LimitOptions,
}

impl EventsOptions {
    /// Returns what they say of the project.
    pub(crate) fn project(self) -> ProjectOptions {
        ProjectOptions {
            connection: self.connection,
            project_id: self.project_id,
            region: self.region,
            auth: self.auth,
            base_url: self.base_url,
            max_rejects: self.max_rejects,
            retry: self.retry,
            limits: self.limits,
        }
    }
}

/// The options of `mixpanel_profiles`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfilesOptions {
    /// The name of a connection: whoever reads the file puts what it stands for
    /// in its place, so that a source has no use for it.
    pub connection: Option<String>,
    /// The project's number.
    pub project_id: Option<TextOrNumber>,
    /// Where its data is kept.
    pub region: Option<Region>,
    /// The credentials.
    pub auth: Option<AuthOptions>,
    /// An expression that profiles must satisfy.
    #[serde(rename = "where")]
    pub where_: Option<String>,
    /// One profile.
    pub distinct_id: Option<TextOrNumber>,
    /// Some profiles.
    pub distinct_ids: Option<Vec<TextOrNumber>>,
    /// Group profiles: the id of the group key.
    pub group_id: Option<TextOrNumber>,
    /// The properties wanted; all if not given.
    pub output_properties: Option<Vec<String>>,
    /// The members of a cohort.
    pub cohort_id: Option<TextOrNumber>,
    /// Whether members of the cohort without a profile are wanted; not unless
    /// told.
    pub include_all_users: Option<bool>,
    /// An event selector; a text is passed on, anything else as JSON.
    #[schemars(with = "Option<serde_json::Value>")]
    pub behaviors: Option<toml::Value>,
    /// The time, in Unix seconds, at which `behaviors` are evaluated; now if
    /// not given.
    pub as_of_timestamp: Option<i64>,
    /// Whether fewer profiles than the server announces are no failure.
    pub accept_short: Option<bool>,
    /// Replaces scheme and host of the endpoint.
    pub base_url: Option<String>,
    /// Records that may be rejected before the run fails.
    pub max_rejects: Option<u64>,
    /// How to try again.
    #[serde(default)]
    pub retry: RetryOptions,
    /// Limits other than the documented ones.
    #[serde(default)]
    pub limits: LimitOptions,
}

impl ProfilesOptions {
    /// Returns what they say of the project.
    pub(crate) fn project(self) -> ProjectOptions {
        ProjectOptions {
            connection: self.connection,
            project_id: self.project_id,
            region: self.region,
            auth: self.auth,
            base_url: self.base_url,
            max_rejects: self.max_rejects,
            retry: self.retry,
            limits: self.limits,
        }
    }
}
