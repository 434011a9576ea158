//! What of a server's text may be shown, and how much of it is read for that.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use mixflow_core::config::Secret;

use super::encoding::{Encoding, decoded};

/// How much of an unexpected answer is read, and how much of it is shown.
const EXCERPT: u64 = 16 << 10;
const SHOWN: usize = 200;

/// How long it may take. A body that drips never pauses for long.
const EXCERPT_WAIT: Duration = Duration::from_secs(5);

/// What must not appear in an error although the server may echo it.
pub(super) struct Secrets(Vec<Secret>);

impl Secrets {
    /// Takes in a secret, and what of a header is made of it.
    pub(super) fn new(secret: &Secret, encoded: &str) -> Secrets {
        Secrets(vec![secret.clone(), escaped(secret), Secret::new(encoded)])
    }

    /// Returns the beginning of an unexpected answer, on one line. Waits as long
    /// as a body may pause, and five seconds at the most.
    pub(super) fn excerpt(
        &self,
        body: impl Read + Send,
        encoding: Encoding,
        idle_timeout: Duration,
    ) -> String {
        let mut bytes = Vec::new();
        let wire = Until {
            inner: body,
            deadline: Instant::now() + idle_timeout.min(EXCERPT_WAIT),
        };
        // Whatever can be read of it is better than nothing.
        let _ = decoded(Box::new(wire), encoding)
            .take(EXCERPT)
            .read_to_end(&mut bytes);
        // What was cut off may be the rest of a secret.
        if bytes.len() as u64 == EXCERPT {
            let longest = self.0.iter().map(|secret| secret.expose().len());
            bytes.truncate(bytes.len() - longest.max().unwrap_or(0).min(bytes.len()));
        }
        self.shown(&bytes)
    }

    /// Returns what of a server's text may be shown.
    pub(super) fn shown(&self, bytes: &[u8]) -> String {
        #[derive(serde::Deserialize)]
        struct Said {
            error: String,
        }
        // Before anything of it is changed, or a secret is not found; and once
        // more when JSON's escapes are gone.
        let text = self.without_secrets(&String::from_utf8_lossy(bytes));
        let text = match serde_json::from_str::<Said>(&text) {
            Ok(said) => self.without_secrets(&said.error),
            Err(_) => text,
        };
        let mut text: String = text
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .filter(|char| !char.is_control())
            .collect();
        let mut end = text.len().min(SHOWN);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        if end < text.len() {
            text.truncate(end);
            text.push('…');
        }
        text
    }

    fn without_secrets(&self, text: &str) -> String {
        let secrets = self.0.iter();
        secrets.fold(text.to_owned(), |text, secret| secret.hide_in(&text))
    }
}

/// Returns a secret as it stands in JSON.
fn escaped(secret: &Secret) -> Secret {
    let json = serde_json::Value::from(secret.expose()).to_string();
    Secret::new(&json[1..json.len() - 1])
}

/// Gives out nothing after its deadline.
struct Until<R> {
    inner: R,
    deadline: Instant,
}

impl<R: Read> Read for Until<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.deadline {
            return Ok(0);
        }
        self.inner.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "pa\"ss\\word-17";

    fn secrets() -> Secrets {
        Secrets::new(&Secret::new(SECRET), "dXNlcjpwYXNz")
    }

    #[test]
    fn the_words_of_an_error_are_shown_on_one_line_and_not_all_of_them() {
        let shown = |text: &str| secrets().shown(text.as_bytes());
        assert_eq!(shown("{\"error\": \"not\\n found\"}"), "not found");
        assert_eq!(shown("{\"message\": 1}"), "{\"message\": 1}");
        assert_eq!(shown("a\r\n\tb\u{1b}[31m"), "a b[31m");
        let long = "é".repeat(150);
        assert_eq!(shown(&long), format!("{}…", "é".repeat(100)));
    }

    #[test]
    fn what_the_server_echoes_of_a_secret_is_hidden_however_it_is_written() {
        for text in [
            SECRET.to_owned(),
            serde_json::json!({ "error": SECRET }).to_string(),
            serde_json::json!({ "said": SECRET }).to_string(),
            "Basic dXNlcjpwYXNz".to_owned(),
        ] {
            let shown = secrets().shown(text.as_bytes());
            assert!(!shown.contains("word-17"), "{shown}");
            assert!(!shown.contains("dXNlcjpwYXNz"), "{shown}");
        }
    }

    /// The first 16 KB end in the middle of the secret.
    #[test]
    fn a_secret_at_the_end_of_what_is_read_is_not_shown_in_part() {
        let spaces = " ".repeat(EXCERPT as usize - 6);
        let body = format!("{spaces}{SECRET}");
        let wait = Duration::from_secs(5);
        let shown = secrets().excerpt(body.as_bytes(), Encoding::Identity, wait);
        assert_eq!(shown, "");
        // Nor is it waited for when the time is over.
        let now = Duration::ZERO;
        assert_eq!(
            secrets().excerpt(io::repeat(b'x'), Encoding::Identity, now),
            ""
        );
    }
}
