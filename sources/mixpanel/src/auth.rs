//! Where the credentials of a project come from.

use mixflow_core::cancel::CancelToken;
use mixflow_core::config::{Env, Invalid, SecretSource};
use mixflow_core::error::Result;
use mixflow_core::registry::BuildContext;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::endpoint::Credentials;

/// The `auth` table: one of three forms.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
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
        warn_of_plain_text(&options, cx, warnings);
        Auth::of(options, has_project, invalid, warnings)
    }

    /// Tells the three forms apart.
    fn of(
        options: AuthOptions,
        has_project: bool,
        invalid: &mut Vec<Invalid>,
        warnings: &mut Vec<String>,
    ) -> Option<Auth> {
        match options {
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
                check_username(&username, invalid);
                Some(Auth::ServiceAccount { username, secret })
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
                Some(Auth::ProjectSecret(secret))
            }
            AuthOptions {
                username: None,
                secret: None,
                project_secret: None,
                token: Some(token),
            } => Some(Auth::Token(token)),
            _ => {
                invalid.push(Invalid::new(
                    "auth",
                    "this takes either `username` with `secret`, or `project_secret`, or `token`",
                ));
                None
            }
        }
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

fn check_username(username: &str, invalid: &mut Vec<Invalid>) {
    if username.is_empty() || username.chars().any(|c| c.is_control() || c == ':') {
        invalid.push(Invalid::new(
            "auth.username",
            "a user name is not empty and has neither `:` nor control characters",
        ));
    }
}

fn warn_of_plain_text(options: &AuthOptions, cx: &BuildContext, warnings: &mut Vec<String>) {
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
}
