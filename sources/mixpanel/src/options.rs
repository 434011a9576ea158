//! What a pipeline file says about Mixpanel, read and checked.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mixflow_core::cancel::CancelToken;
use mixflow_core::config::{DateSpec, Days, Env, Invalid, Secret, SecretSource, TextOrNumber};
use mixflow_core::error::Result;
use mixflow_core::registry::BuildContext;
use serde::Deserialize;

/// Where a project's data is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// The United States.
    #[default]
    Us,
    /// The European Union.
    Eu,
    /// India.
    In,
}

/// The `auth` table: one of three forms.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthOptions {
    /// A service account's name; goes with `secret`.
    pub username: Option<String>,
    /// A service account's secret.
    pub secret: Option<SecretSource>,
    /// A project's secret.
    pub project_secret: Option<SecretSource>,
    /// An OAuth token.
    pub token: Option<SecretSource>,
}

/// Where credentials come from, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    ServiceAccount {
        username: String,
        secret: SecretSource,
    },
    ProjectSecret(SecretSource),
    Token(SecretSource),
}

/// Credentials, resolved.
pub(crate) enum Credentials {
    ServiceAccount { username: String, secret: Secret },
    ProjectSecret(Secret),
    Token(Secret),
}

impl Auth {
    /// Checks the table and says what to warn about.
    pub(crate) fn new(
        options: Option<AuthOptions>,
        has_project: bool,
        cx: &BuildContext,
        invalid: &mut Vec<Invalid>,
        warnings: &mut Vec<String>,
    ) -> Option<Auth> {
        let Some(options) = options else {
            invalid.push(Invalid::new(
                "auth",
                "this is missing, such as `auth = { username = \"…\", secret = { env = \"MIXPANEL_SECRET\" } }`",
            ));
            return None;
        };
        for (key, secret) in [
            ("secret", &options.secret),
            ("project_secret", &options.project_secret),
            ("token", &options.token),
        ] {
            let written_out = matches!(secret, Some(SecretSource::Plain(_)));
            if written_out && !cx.expanded.contains(&format!("auth.{key}")) {
                warnings.push(format!(
                    "`source.auth.{key}` stands in the pipeline file as plain text; `{{ env = \"…\" }}` or `{{ file = \"…\" }}` keeps it out of backups and version control"
                ));
            }
        }
        let auth = match options {
            AuthOptions {
                username: Some(username),
                secret: Some(secret),
                project_secret: None,
                token: None,
            } => {
                if !has_project {
                    invalid.push(Invalid::new(
                        "project_id",
                        "this is missing; a service account needs it",
                    ));
                }
                if username.is_empty() || username.chars().any(|c| c.is_control() || c == ':') {
                    invalid.push(Invalid::new(
                        "auth.username",
                        "a user name is not empty and has neither `:` nor control characters",
                    ));
                }
                Auth::ServiceAccount { username, secret }
            }
            AuthOptions {
                username: None,
                secret: None,
                project_secret: Some(secret),
                token: None,
            } => {
                warnings.push(
                    "Mixpanel retires project secrets on 2027-03-03; use a service account"
                        .to_owned(),
                );
                Auth::ProjectSecret(secret)
            }
            AuthOptions {
                username: None,
                secret: None,
                project_secret: None,
                token: Some(token),
            } => Auth::Token(token),
            _ => {
                invalid.push(Invalid::new(
                    "auth",
                    "this takes either `username` with `secret`, or `project_secret`, or `token`",
                ));
                return None;
            }
        };
        Some(auth)
    }

    /// Gets the secrets. Reads files or runs commands if told to.
    pub(crate) fn resolve(&self, env: &Env, cancel: &CancelToken) -> Result<Credentials> {
        Ok(match self {
            Auth::ServiceAccount { username, secret } => Credentials::ServiceAccount {
                username: username.clone(),
                secret: secret.resolve("service account's secret", env, cancel)?,
            },
            Auth::ProjectSecret(secret) => {
                Credentials::ProjectSecret(secret.resolve("project secret", env, cancel)?)
            }
            Auth::Token(token) => Credentials::Token(token.resolve("OAuth token", env, cancel)?),
        })
    }
}

/// Which endpoint of which project is read.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) kind: EndpointKind,
    pub(crate) region: Region,
    pub(crate) base_url: Option<String>,
    pub(crate) project_id: Option<String>,
    /// The zone that days are taken for; UTC if nobody says.
    pub(crate) zone: Option<TimeZone>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointKind {
    Export,
    Engage,
}

impl Endpoint {
    /// Checks the parts that both sources share.
    pub(crate) fn new(
        kind: EndpointKind,
        region: Region,
        base_url: Option<String>,
        project_id: Option<TextOrNumber>,
        invalid: &mut Vec<Invalid>,
    ) -> Endpoint {
        let project_id = project_id.map(|TextOrNumber(id)| id);
        if let Some(id) = &project_id
            && (id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()))
        {
            invalid.push(Invalid::new("project_id", "a project's id has digits only"));
        }
        if let Some(url) = &base_url
            && !is_base_url(url)
        {
            invalid.push(Invalid::new(
                "base_url",
                "this is not a base URL such as `http://127.0.0.1:8080`",
            ));
        }
        Endpoint {
            kind,
            region,
            base_url,
            project_id,
            zone: None,
        }
    }

    /// Returns what to do when the server says that a day has not come yet.
    pub(crate) fn today_is(&self) -> String {
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        let name = zone.iana_name().unwrap_or("UTC").to_owned();
        let today = Timestamp::now().to_zoned(zone).date();
        format!(
            "the project reads days in its own time zone, and `timezone` says `{name}`, where today is {today}: set `timezone` to the project's, or `to = \"yesterday\"`"
        )
    }

    pub(crate) fn base(&self) -> String {
        if let Some(base) = &self.base_url {
            return base.trim_end_matches('/').to_owned();
        }
        let host = match (self.kind, self.region) {
            (EndpointKind::Export, Region::Us) => "data.mixpanel.com",
            (EndpointKind::Export, Region::Eu) => "data-eu.mixpanel.com",
            (EndpointKind::Export, Region::In) => "data-in.mixpanel.com",
            (EndpointKind::Engage, Region::Us) => "mixpanel.com",
            (EndpointKind::Engage, Region::Eu) => "eu.mixpanel.com",
            (EndpointKind::Engage, Region::In) => "in.mixpanel.com",
        };
        format!("https://{host}")
    }

    /// Returns what the endpoint's limits are kept under.
    ///
    /// Another address is another quota, and so is another project.
    pub(crate) fn quota_name(&self) -> String {
        let kind = match self.kind {
            EndpointKind::Export => "export",
            EndpointKind::Engage => "engage",
        };
        let project = self.project_id.as_deref().unwrap_or("project");
        let base = xxhash_rust::xxh3::xxh3_64(self.base().as_bytes());
        format!("{kind}-{project}-{base:016x}")
    }

    pub(crate) fn path(&self) -> &'static str {
        match self.kind {
            EndpointKind::Export => "/api/2.0/export",
            EndpointKind::Engage => "/api/query/engage",
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}{}", self.base(), self.path())
    }

    pub(crate) fn project(&self) -> String {
        match &self.project_id {
            Some(id) => format!("project {id}"),
            None => "the project".to_owned(),
        }
    }

    pub(crate) fn what(&self) -> String {
        let kind = match self.kind {
            EndpointKind::Export => "events",
            EndpointKind::Engage => "profiles",
        };
        format!("the {kind} of {}", self.project())
    }
}

fn is_base_url(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.contains(['?', '#', '@', ' '])
            && ureq::http::Uri::try_from(url).is_ok()
    })
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

/// The options of `mixpanel_events`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsOptions {
    /// The project's number.
    pub project_id: Option<TextOrNumber>,
    /// Where its data is kept.
    pub region: Option<Region>,
    /// The credentials.
    pub auth: Option<AuthOptions>,
    /// The first day, inclusive.
    pub from: Option<DateSpec>,
    /// The last day, inclusive.
    pub to: Option<DateSpec>,
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
    pub retry: crate::http::retry::RetryOptions,
    /// Limits other than the documented ones.
    #[serde(default)]
    pub limits: crate::http::quota::LimitOptions,
}

/// The options of `mixpanel_profiles`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfilesOptions {
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
    pub retry: crate::http::retry::RetryOptions,
    /// Limits other than the documented ones.
    #[serde(default)]
    pub limits: crate::http::quota::LimitOptions,
}

/// Records that may be rejected before a run fails, unless told otherwise.
pub(crate) const MAX_REJECTS: u64 = 1000;

/// Checks what both sources share of retry and limits.
pub(crate) fn check_limits(
    retry: &crate::http::retry::RetryOptions,
    limits: crate::http::quota::LimitOptions,
    invalid: &mut Vec<Invalid>,
) {
    if retry.max_attempts == 0 {
        invalid.push(Invalid::new(
            "retry.max_attempts",
            "at least 1 try is needed",
        ));
    }
    for (key, value) in [
        ("limits.per_second", limits.per_second),
        ("limits.per_hour", limits.per_hour),
        ("limits.concurrent", limits.concurrent),
    ] {
        if value == Some(0) {
            invalid.push(Invalid::new(key, "at least 1 is needed"));
        }
    }
}
