//! Credentials.

/// The credentials that the simulator accepts.
#[derive(Clone, Debug, Default)]
pub(super) struct Accounts {
    pub(super) service: Option<(String, String)>,
    pub(super) project_secret: Option<String>,
    pub(super) token: Option<String>,
}

/// Who a request is from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Caller {
    /// A service account, which has to name the project.
    Service,
    /// Somebody whose credentials imply the project, or are not asked for.
    Other,
}

/// What an `Authorization` header holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Authorization {
    Basic { user: String, password: String },
    Bearer(String),
}

impl Authorization {
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, value) = header.trim().split_once(' ')?;
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Bearer(value.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(decode_base64(value)?).ok()?;
        // Some clients encode a project secret alone.
        let (user, password) = text.split_once(':').unwrap_or((&text, ""));
        Some(Self::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    pub(super) fn user(&self) -> Option<&str> {
        match self {
            Self::Basic { user, .. } => Some(user),
            Self::Bearer(_) => None,
        }
    }
}

impl Accounts {
    /// Returns who is asking, or `None` if the credentials are wrong.
    pub(super) fn caller(&self, authorization: Option<&Authorization>) -> Option<Caller> {
        let Self {
            service,
            project_secret,
            token,
        } = self;
        if service.is_none() && project_secret.is_none() && token.is_none() {
            return Some(Caller::Other);
        }
        match authorization? {
            Authorization::Bearer(given) => (token.as_ref()? == given).then_some(Caller::Other),
            Authorization::Basic { user, password } => {
                let service = service.as_ref();
                if service.is_some_and(|(name, secret)| name == user && secret == password) {
                    return Some(Caller::Service);
                }
                let known = project_secret.as_ref() == Some(user) && password.is_empty();
                known.then_some(Caller::Other)
            }
        }
    }
}

/// Decodes base64. Sixteen lines are less than one more dependency.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            service: Some(("sim".to_owned(), "sim-secret".to_owned())),
            project_secret: Some("project".to_owned()),
            token: Some("token".to_owned()),
        }
    }

    fn caller(accounts: &Accounts, header: &str) -> Option<Caller> {
        accounts.caller(Authorization::parse(header).as_ref())
    }

    #[test]
    fn base64_is_decoded() {
        assert_eq!(
            decode_base64("c2ltOnNpbS1zZWNyZXQ=").unwrap(),
            b"sim:sim-secret"
        );
        assert_eq!(decode_base64("w6k6Pz8/").unwrap(), "é:???".as_bytes());
        assert_eq!(decode_base64("a b"), None);
    }

    #[test]
    fn all_kinds_of_credentials_are_accepted() {
        let accounts = accounts();
        assert_eq!(
            caller(&accounts, "Basic c2ltOnNpbS1zZWNyZXQ="),
            Some(Caller::Service)
        );
        assert_eq!(caller(&accounts, "basic cHJvamVjdDo="), Some(Caller::Other));
        assert_eq!(caller(&accounts, "Basic cHJvamVjdA=="), Some(Caller::Other));
        assert_eq!(caller(&accounts, "Bearer token"), Some(Caller::Other));
    }

    #[test]
    fn wrong_credentials_are_refused() {
        let accounts = accounts();
        for header in [
            "",
            "Basic",
            "Basic c2ltOm5v",
            "Basic c2lt",
            "Bearer x",
            "Digest token",
        ] {
            assert_eq!(caller(&accounts, header), None, "{header}");
        }
    }

    #[test]
    fn without_accounts_anything_goes() {
        assert_eq!(Accounts::default().caller(None), Some(Caller::Other));
    }
}
