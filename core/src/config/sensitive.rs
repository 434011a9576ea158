//! Which names in a pipeline file stand for secrets, slips of the pen included.

/// What says "secret" wherever it stands in a name.
const INSIDE: [&str; 4] = ["secret", "token", "password", "webhook"];

/// What says "secret" as a whole word. `key` is that of the transform `hash`.
const WHOLE: [&str; 2] = ["auth", "key"];

/// Names that may be shown although the line that they begin cannot be read.
const HARMLESS: [&str; 36] = [
    "allow_shrink",
    "auth",
    "base_url",
    "behaviors",
    "command",
    "connection",
    "env",
    "events",
    "file",
    "format",
    "from",
    "key",
    "limits",
    "lookback",
    "mode",
    "name",
    "notify",
    "password",
    "path",
    "project_id",
    "project_secret",
    "region",
    "retry",
    "run",
    "secret",
    "sink",
    "source",
    "table",
    "to",
    "token",
    "transform",
    "type",
    "username",
    "webhook",
    "where",
    "workers",
];

/// Returns whether what stands under a key of this name may be a secret.
///
/// A slip is taken for what it was meant to be: `sercet`, `kye`, `auht`.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    INSIDE.iter().any(|word| name.contains(word))
        || words(&name).any(|word| {
            let mut known = WHOLE.iter().chain(&INSIDE);
            known.any(|known| slips(word, known))
        })
}

/// Returns whether a name is one with a secret behind it, as where an `=` was
/// forgotten: `secrethunter22`.
pub(super) fn has_secret_in_it(name: &str) -> bool {
    INSIDE.iter().any(|word| {
        name.split_once(word)
            .is_some_and(|(_, rest)| rest.len() >= 4 && !rest.starts_with(['_', '-']))
    })
}

/// Returns whether a name is one of those that everybody may read.
pub(super) fn is_harmless(name: &str) -> bool {
    HARMLESS.contains(&name)
}

/// Returns whether a text speaks of a secret somewhere.
pub(super) fn mentions_secret(text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(is_secret)
}

/// Returns whether a text is an address with credentials or parameters in it.
pub(super) fn is_telling_url(text: &str) -> bool {
    text.contains("//") && text.contains(['@', '?'])
}

/// Returns whether what stands under a key for an address is more than one of
/// a host.
pub(super) fn is_telling_address(name: &str, text: &str) -> bool {
    let is_plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_/".contains(&byte))
    };
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let (host, port) = rest.split_once(':').unwrap_or((rest, ""));
    let port = port.trim_end_matches('/');
    let is_port = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    name.contains("url") && !(is_plain(host) && is_port)
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// Whether `word` is `known` but for a slip, or two in a long word.
fn slips(word: &str, known: &str) -> bool {
    let most = if known.len() > 5 { 2 } else { 1 };
    word.len().abs_diff(known.len()) <= most && strsim::osa_distance(word, known) <= most
}

/// Whether a name has nothing that would need quotes.
pub(super) fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_options_are_not() {
        for name in [
            "secret",
            "sercet",
            "Secret",
            "kye",
            "key",
            "api_key",
            "auth",
            "auht",
            "pasword",
            "tokne",
            "webhok",
            "project_secret",
            "authsecret",
            "SECRET_TOKEN",
        ] {
            assert!(is_secret(name), "{name}");
        }
        let secrets = [
            "auth",
            "key",
            "password",
            "project_secret",
            "secret",
            "token",
            "webhook",
        ];
        for name in HARMLESS {
            assert_eq!(is_secret(name), secrets.contains(&name), "{name}");
        }
        for name in [
            "keep", "rows", "columns", "library", "users", "username", "select", "seed", "auto",
        ] {
            assert_eq!(is_secret(name), name == "auto", "{name}");
        }
    }

    #[test]
    fn an_address_tells_by_its_user_or_its_parameters() {
        assert!(is_telling_url("https://ann:pw@example.com"));
        assert!(is_telling_url("https://example.com/?token=1"));
        assert!(!is_telling_url("https://example.com/a"));
        assert!(!is_telling_url("ann@example.com"));
        assert!(is_telling_address("base_url", "https://ann:pw.example.com"));
        assert!(is_telling_address("base_url", "ann@example.com"));
        assert!(!is_telling_address("base_url", "http://127.0.0.1:8080/"));
        assert!(!is_telling_address("path", "ann@example.com"));
    }
}
