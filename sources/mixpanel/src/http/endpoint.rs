//! Where requests go, and with which credentials.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::tz::TimeZone;
use mixflow_core::config::{Invalid, Secret, TextOrNumber};
use schemars::JsonSchema;
use serde::Deserialize;

use super::quota::Limits;

/// Where a project's data is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
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

impl Region {
    const ALL: [Region; 3] = [Region::Us, Region::Eu, Region::In];

    /// Returns the name that pipeline files have: `eu`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Region::Us => "us",
            Region::Eu => "eu",
            Region::In => "in",
        }
    }
}

/// Credentials, resolved.
pub(crate) enum Credentials {
    ServiceAccount { username: String, secret: Secret },
    ProjectSecret(Secret),
    Token(Secret),
}

impl Credentials {
    /// Returns what the `authorization` header says.
    pub(super) fn authorization(&self) -> String {
        match self {
            Credentials::ServiceAccount { username, secret } => basic(username, secret.expose()),
            Credentials::ProjectSecret(secret) => basic(secret.expose(), ""),
            Credentials::Token(token) => format!("Bearer {}", token.expose()),
        }
    }

    /// Returns what nobody else may know.
    pub(super) fn secret(&self) -> &Secret {
        match self {
            Credentials::ServiceAccount { secret, .. } => secret,
            Credentials::ProjectSecret(secret) | Credentials::Token(secret) => secret,
        }
    }
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{username}:{password}")))
}

/// An endpoint of Mixpanel's, which is the same for every project.
#[derive(Debug)]
pub(crate) struct Service {
    /// What its limits are kept under.
    pub(crate) name: &'static str,
    /// What it gives: `events`.
    pub(crate) data: &'static str,
    pub(crate) path: &'static str,
    /// Its hosts, in the order of [`Region`].
    pub(crate) hosts: [&'static str; 3],
    /// What Mixpanel documents.
    pub(crate) limits: Limits,
}

/// Which service of which project is read.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    service: &'static Service,
    region: Region,
    base_url: Option<String>,
    pub(crate) project_id: Option<String>,
    /// The zone that days are taken for; UTC if nobody says.
    pub(crate) zone: Option<TimeZone>,
}

impl Endpoint {
    /// Checks what leads to a service; what is wrong goes to `invalid`.
    pub(crate) fn new(
        service: &'static Service,
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
            service,
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
        let today = mixflow_core::clock::now().to_zoned(zone).date();
        format!(
            "the project reads days in its own time zone, and `timezone` says `{name}`, where today is {today}: set `timezone` to the project's, or `to = \"yesterday\"`"
        )
    }

    /// Returns the region; none if an address stands in its place.
    pub(crate) fn region(&self) -> Option<Region> {
        self.base_url.is_none().then_some(self.region)
    }

    /// Returns the other regions that the project may be in; none if an address
    /// stands in their place.
    pub(crate) fn elsewhere(&self) -> Vec<Region> {
        let is_other = |region: &Region| self.region().is_some_and(|home| home != *region);
        Region::ALL.into_iter().filter(is_other).collect()
    }

    /// Returns the endpoint of the same project in another region.
    pub(crate) fn moved_to(&self, region: Region) -> Endpoint {
        Endpoint {
            region,
            ..self.clone()
        }
    }

    pub(crate) fn base(&self) -> String {
        if let Some(base) = &self.base_url {
            return base.trim_end_matches('/').to_owned();
        }
        let [us, eu, india] = self.service.hosts;
        let host = match self.region {
            Region::Us => us,
            Region::Eu => eu,
            Region::In => india,
        };
        format!("https://{host}")
    }

    /// Returns what the endpoint's limits are kept under.
    ///
    /// Another address is another quota, and so is another project.
    pub(crate) fn quota_name(&self) -> String {
        let project = self.project_id.as_deref().unwrap_or("project");
        let base = xxhash_rust::xxh3::xxh3_64(self.base().as_bytes());
        format!("{}-{project}-{base:016x}", self.service.name)
    }

    pub(crate) fn path(&self) -> &'static str {
        self.service.path
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
        format!("the {} of {}", self.service.data, self.project())
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

/// A service for tests.
#[cfg(test)]
pub(super) static SERVICE: Service = Service {
    name: "export",
    data: "events",
    path: "/api/2.0/export",
    hosts: ["us", "eu", "in"],
    limits: Limits::EXPORT,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(region: Region, base_url: Option<&str>, project: Option<&str>) -> Endpoint {
        let mut invalid = Vec::new();
        let project = project.map(|id| TextOrNumber(id.to_owned()));
        let base_url = base_url.map(str::to_owned);
        let endpoint = Endpoint::new(&SERVICE, region, base_url, project, &mut invalid);
        assert!(invalid.is_empty(), "{invalid:?}");
        endpoint
    }

    #[test]
    fn another_address_or_project_is_another_quota() {
        let name = |region, base_url, project| endpoint(region, base_url, project).quota_name();
        let names = [
            name(Region::Us, None, Some("1")),
            name(Region::Eu, None, Some("1")),
            name(Region::Us, None, Some("2")),
            name(Region::Us, None, None),
            name(Region::Us, Some("http://127.0.0.1:8080"), Some("1")),
        ];
        for (n, one) in names.iter().enumerate() {
            assert!(!names[..n].contains(one), "{one}");
        }
        // A slash at the end makes no other address.
        assert_eq!(
            name(Region::Us, Some("http://127.0.0.1:8080/"), Some("1")),
            names[4]
        );
    }

    #[test]
    fn a_project_may_be_in_another_region_unless_an_address_is_given() {
        let home = endpoint(Region::Eu, None, Some("1"));
        assert_eq!(home.elsewhere(), [Region::Us, Region::In]);
        assert_eq!(home.moved_to(Region::In).base(), "https://in");
        let address = endpoint(Region::Eu, Some("http://127.0.0.1:8080"), Some("1"));
        assert_eq!(address.elsewhere(), []);
        assert_eq!(address.region(), None);
    }

    #[test]
    fn credentials_are_a_header_and_a_secret() {
        let secret = || Secret::new("pw");
        let account = Credentials::ServiceAccount {
            username: "user".to_owned(),
            secret: secret(),
        };
        assert_eq!(account.authorization(), "Basic dXNlcjpwdw==");
        assert_eq!(
            Credentials::ProjectSecret(secret()).authorization(),
            "Basic cHc6"
        );
        let token = Credentials::Token(secret());
        assert_eq!(token.authorization(), "Bearer pw");
        assert_eq!(token.secret().expose(), "pw");
    }
}
