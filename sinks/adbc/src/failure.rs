//! What drivers and databases say, as errors that people understand.

use adbc_core::error::{Error as AdbcError, Status};
use mixflow_core::config::Secret;
use mixflow_core::{Error, ErrorKind};

/// So much of what a database says is shown.
const SHOWN: usize = 600;

/// What may not be shown of a destination.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Vec<Secret>);

impl Secrets {
    pub(crate) fn new(secrets: Vec<Secret>) -> Secrets {
        Secrets(secrets)
    }

    /// Returns a text of the driver's without secrets, in one line.
    fn shown(&self, text: &str) -> String {
        let hidden = self
            .0
            .iter()
            .fold(text.to_owned(), |text, secret| secret.hide_in(&text));
        let line = in_a_line(&hidden).replace(" . SQLSTATE", ". SQLSTATE");
        match line.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }

    /// Returns a function that wraps an error: ``cannot {what}``.
    pub(crate) fn failed(&self, what: impl std::fmt::Display) -> impl FnOnce(AdbcError) -> Error {
        self.wrapped(what.to_string(), Trouble::kind)
    }

    /// As [`failed`](Secrets::failed), for who tries to connect: what cannot be
    /// reached is a destination that is not there.
    pub(crate) fn unreachable(
        &self,
        what: impl std::fmt::Display,
    ) -> impl FnOnce(AdbcError) -> Error {
        self.wrapped(what.to_string(), |trouble| match trouble {
            Trouble::Lost => ErrorKind::Destination,
            trouble => trouble.kind(),
        })
    }

    fn wrapped(
        &self,
        what: String,
        kind: impl FnOnce(Trouble) -> ErrorKind,
    ) -> impl FnOnce(AdbcError) -> Error {
        let message = format!("cannot {what}");
        let secrets = self.clone();
        move |error| {
            let trouble = Trouble::of(&error);
            let wrapped = Error::new(kind(trouble), message).because(secrets.shown(&error.message));
            match trouble.hint() {
                Some(hint) => wrapped.hint(hint),
                None if trouble == Trouble::Busy => wrapped
                    .busy()
                    .with_remedy(mixflow_core::remedy::Remedy::Wait),
                None => wrapped,
            }
        }
    }
}

/// Returns a text in one line, with one space where there are several: libpq writes
/// `FATAL:  role`.
fn in_a_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

/// Sorts of trouble with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The credentials are wrong, or lack a permission.
    Refused,
    /// The connection is gone, or there never was one.
    Lost,
    /// Its disk, or the share of it that may be used, is full.
    Full,
    /// Somebody else has it.
    Busy,
    /// A lock was waited for too long.
    LockedOut,
    /// The database ended a statement that took too long.
    TooLong,
    /// It cannot take these values.
    Data,
    /// A key is there twice.
    Twice,
    Other,
}

impl Trouble {
    pub(crate) fn of(error: &AdbcError) -> Trouble {
        // Before any code: of a connection that is refused a client library says only
        // that there is none.
        if Trouble::is_refusal(error) {
            return Trouble::Refused;
        }
        let state: String = error.sqlstate.iter().map(|c| *c as u8 as char).collect();
        match state.get(..2).unwrap_or_default() {
            "28" => return Trouble::Refused,
            "08" => return Trouble::Lost,
            "22" => return Trouble::Data,
            "23" => return Trouble::Twice,
            "53" => return Trouble::Full,
            _ => {}
        }
        match state.as_str() {
            "42501" => return Trouble::Refused,
            "55P03" => return Trouble::LockedOut,
            "57014" => return Trouble::TooLong,
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => return Trouble::Lost,
            _ => {}
        }
        Trouble::by_words(error)
    }

    fn is_refusal(error: &AdbcError) -> bool {
        let text = in_a_line(&error.message).to_lowercase();
        let words = [
            "authentication failed",
            "fatal: role ",
            "no pg_hba.conf entry",
            // Snowflake gives the code of a lost connection to what it refuses.
            "incorrect username or password",
            "jwt token is invalid",
            "http: 401",
            "http: 403",
            // BigQuery has no codes.
            "invalid_grant",
            "credentials: ",
            "permission_denied",
            "accessdenied",
        ];
        matches!(error.status, Status::Unauthenticated | Status::Unauthorized)
            || words.iter().any(|words| text.contains(words))
    }

    /// For drivers that give no code, and for what a client library says of itself.
    fn by_words(error: &AdbcError) -> Trouble {
        let text = in_a_line(&error.message).to_lowercase();
        let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
        match error.status {
            _ if says(&["database is locked", "could not set lock on file"]) => Trouble::Busy,
            _ if says(&["disk is full", "no space left", "disk full"]) => Trouble::Full,
            _ if says(&[
                "server closed the connection",
                "no connection to the server",
                "connection to server",
                "connection not open",
                "could not receive data",
                "could not send data",
                "dial tcp",
                "connection refused",
                "no such host",
                "ssl connection has been closed",
            ]) =>
            {
                Trouble::Lost
            }
            Status::InvalidData => Trouble::Data,
            Status::Integrity => Trouble::Twice,
            _ => Trouble::Other,
        }
    }

    fn kind(self) -> ErrorKind {
        match self {
            Trouble::Refused => ErrorKind::Auth,
            Trouble::Lost => ErrorKind::Network,
            Trouble::Full => ErrorKind::Io,
            Trouble::Busy | Trouble::LockedOut => ErrorKind::Locked,
            Trouble::TooLong | Trouble::Other => ErrorKind::Destination,
            Trouble::Data | Trouble::Twice => ErrorKind::Data,
        }
    }

    fn hint(self) -> Option<&'static str> {
        match self {
            Trouble::Refused => Some(
                "check user, password or key, and what that user may do in the database; nothing was changed",
            ),
            Trouble::Lost => {
                Some("check that the database is up and can be reached, and run it again")
            }
            Trouble::Full => {
                Some("give the database more room; what was there before is unchanged")
            }
            Trouble::LockedOut => {
                Some("run it again when nobody holds the table; what was there before is unchanged")
            }
            Trouble::TooLong => Some(
                "let statements of this user take longer, such as with `options=-c%20statement_timeout=0` in the URI",
            ),
            Trouble::Twice => {
                Some("look at the keys of the table: two rows may not have the same one")
            }
            Trouble::Busy | Trouble::Data | Trouble::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(message: &str, sqlstate: &str) -> AdbcError {
        let mut error = AdbcError::with_message_and_status(message, Status::IO);
        for (at, byte) in sqlstate.bytes().enumerate() {
            error.sqlstate[at] = byte as std::ffi::c_char;
        }
        error
    }

    #[test]
    fn what_a_database_says_has_a_kind_and_no_secret() {
        for (message, state, kind) in [
            ("ERROR: x", "28P01", ErrorKind::Auth),
            ("ERROR: x", "53100", ErrorKind::Io),
            ("ERROR: x", "57014", ErrorKind::Destination),
            ("ERROR: x", "57P01", ErrorKind::Network),
            ("ERROR: x", "55P03", ErrorKind::Locked),
            ("database is locked", "", ErrorKind::Locked),
            (
                "server closed the connection unexpectedly",
                "",
                ErrorKind::Network,
            ),
            (
                "[Snowflake] 390100 (08004): Incorrect username or password was specified.",
                "08004",
                ErrorKind::Auth,
            ),
            (
                "auth: cannot fetch token: 400 Response: {\"error\": \"invalid_grant\"}",
                "",
                ErrorKind::Auth,
            ),
            (
                "[FlightSQL] dial tcp 127.0.0.1:9: connect: connection refused",
                "",
                ErrorKind::Network,
            ),
        ] {
            let wrapped = Secrets::default().failed("write")(error(message, state));
            assert_eq!(wrapped.kind(), kind, "{message} {state}");
        }
        let secrets = Secrets::new(vec![Secret::new("hunter22")]);
        let wrapped = secrets.failed("connect")(error("no: user:hunter22@host\n  at x", ""));
        assert_eq!(wrapped.causes(), ["no: user:…@host at x"]);
    }
}
