//! Secrets: where they come from, and a type that does not print them.

use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemars::json_schema;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::env::Env;
use super::path::local_path;
use crate::cancel::CancelToken;
use crate::error::{Error, ErrorKind, Result};
use crate::written_as;

/// A secret's text. Its `Debug` form says nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Creates a secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// Returns the text. For the header that carries it, and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Secret {
    /// Returns `text` without the secret, whatever white space and control
    /// characters somebody has put into it or left out of it.
    ///
    /// For what comes from elsewhere, before anything else is done to it.
    pub fn hide_in(&self, text: &str) -> String {
        let counts = |c: &char| !c.is_whitespace() && !c.is_control();
        let needle: String = self.0.chars().filter(counts).collect();
        if needle.is_empty() {
            return text.to_owned();
        }
        // The text without what does not count, and where each byte of that is.
        let (mut dense, mut places) = (String::new(), Vec::new());
        for (at, c) in text.char_indices().filter(|(_, c)| counts(c)) {
            dense.push(c);
            places.resize(dense.len(), (at, at + c.len_utf8()));
        }
        let (mut shown, mut from) = (String::new(), 0);
        for (at, found) in dense.match_indices(&needle) {
            let (start, end) = (places[at].0, places[at + found.len() - 1].1);
            shown.push_str(&text[from..start]);
            shown.push('…');
            from = end;
        }
        shown.push_str(&text[from..]);
        shown
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a secret comes from.
///
/// In TOML: `{ env = "NAME" }`, `{ file = "path" }`, `{ command = ["pass",
/// "show", "mixpanel"] }` or plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The text itself.
    Plain(Secret),
    /// An environment variable.
    Env(String),
    /// A file, without the line end at its end.
    File(PathBuf),
    /// What a command prints, without the line end at its end.
    Command(Vec<String>),
}

impl SecretSource {
    /// Gets the secret. `what` names it in errors.
    ///
    /// Reads a file or runs a command, so it is not for building, only for
    /// planning; neither is waited for once `cancel` is cancelled. An empty
    /// secret is an error.
    pub fn resolve(&self, what: &str, env: &Env, cancel: &CancelToken) -> Result<Secret> {
        let fail = |place: String| {
            Error::new(
                ErrorKind::Config,
                format!("cannot get the {what} from {place}"),
            )
        };
        let text = match self {
            SecretSource::Plain(secret) => secret.0.clone(),
            SecretSource::Env(name) => env.get(name).ok_or_else(|| unset(what, name))?,
            SecretSource::File(path) => {
                let home = env.get("HOME").map(PathBuf::from);
                let place = || fail(format!("`{}`", path.display()));
                let file =
                    local_path(path, home.as_deref()).map_err(|reason| place().because(reason))?;
                // It may be a pipe that nobody writes to.
                cancel
                    .attempt(move || std::fs::read_to_string(file))?
                    .map_err(|error| place().with_source(error))?
            }
            SecretSource::Command(argv) => {
                run(argv, cancel)?.map_err(|cause| fail(program(argv)).because(cause))?
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the {what} is empty"),
            ));
        }
        // It becomes part of a header; a line end in it would be a second one.
        if text.chars().any(char::is_control) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("the {what} has a control character in it"),
            ));
        }
        Ok(Secret(text.to_owned()))
    }
}

/// Returns the error of a variable that is not set.
///
/// Who writes the secret itself where its variable's name belongs does not
/// see it again: variables are written in capitals.
fn unset(what: &str, name: &str) -> Error {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let error = |message| {
        Error::new(ErrorKind::Config, message).because("the environment variable is not set")
    };
    if name.chars().all(is_name) {
        error(format!("cannot get the {what} from `{name}`")).hint(format!(
            "set {name}; under cron, in the crontab or the script"
        ))
    } else {
        error(format!("cannot get the {what} from what `env` names"))
            .hint("give `env` the name of a variable, not what is in it")
    }
}

/// Returns the program of a command for messages, without what may follow it
/// where a whole line was written.
fn program(argv: &[String]) -> String {
    let name = argv[0].split_whitespace().next().unwrap_or_default();
    format!("`{name}`")
}

/// Runs a command and returns what it prints, or why that is not to be had.
///
/// The outer error is that of a run that is to stop; the command is killed.
fn run(argv: &[String], cancel: &CancelToken) -> Result<Result<String, String>> {
    let spawned = Command::new(&argv[0])
        .args(&argv[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let stdout = child.stdout.take();
    let child = Arc::new(Mutex::new(child));
    let watched = Arc::clone(&child);
    let ended = cancel.attempt(move || {
        let mut printed = Vec::new();
        if let Some(mut stdout) = stdout {
            stdout.read_to_end(&mut printed)?;
        }
        Ok((printed, ended(&watched)?))
    });
    let outcome: std::io::Result<_> = ended.inspect_err(|_| {
        // It may be gone already.
        let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
    })?;
    Ok(match outcome {
        Err(error) => Err(error.to_string()),
        Ok((_, status)) if !status.success() => Err(format!("it ended with {status}")),
        Ok((printed, _)) => {
            String::from_utf8(printed).map_err(|_| "what it printed is not UTF-8".to_owned())
        }
    })
}

/// Waits for a process that somebody else may want to kill.
fn ended(child: &Mutex<Child>) -> std::io::Result<ExitStatus> {
    loop {
        let status = child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_wait()?;
        if let Some(status) = status {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

written_as!(SecretSource, |_generator| {
    let one_of = |key: &str, value: serde_json::Value| {
        serde_json::json!({
            "type": "object",
            "properties": { key: value },
            "required": [key],
            "additionalProperties": false
        })
    };
    let text = || serde_json::json!({ "type": "string" });
    let command = serde_json::json!({ "type": "array", "items": text(), "minItems": 1 });
    json_schema!({
        "anyOf": [
            one_of("env", text()),
            one_of("file", text()),
            one_of("command", command),
            text()
        ]
    })
});

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "`{ env = \"NAME\" }`, `{ file = \"path\" }`, `{ command = [\"…\"] }` or a text",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretSource, E> {
        Ok(SecretSource::Plain(Secret::new(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
        let only_one = "a secret has one of `env`, `file` and `command`";
        let Some(key) = map.next_key::<String>()? else {
            return Err(de::Error::custom(only_one));
        };
        let source = match key.as_str() {
            "env" => SecretSource::Env(map.next_value()?),
            "file" => SecretSource::File(map.next_value()?),
            "command" => match map.next_value::<Vec<String>>()? {
                argv if argv.is_empty() => {
                    return Err(de::Error::custom("the command is empty"));
                }
                argv => SecretSource::Command(argv),
            },
            other => {
                return Err(de::Error::unknown_field(other, &["env", "file", "command"]));
            }
        };
        match map.next_key::<String>()? {
            None => Ok(source),
            Some(_) => Err(de::Error::custom(only_one)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::cancellation;

    #[derive(serde::Deserialize, Debug)]
    struct Table {
        secret: SecretSource,
    }

    fn parse(toml: &str) -> Result<SecretSource, String> {
        toml::from_str::<Table>(toml)
            .map(|table| table.secret)
            .map_err(|error| error.message().to_owned())
    }

    fn resolve(toml: &str, env: &Env) -> Result<String, String> {
        parse(toml)?
            .resolve("secret", env, &CancelToken::never())
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_secret_comes_from_the_environment_a_file_a_command_or_the_text() {
        let env = Env::fixed([("NAME", "from env")]);
        let file = std::env::temp_dir().join(format!("mixflow-secret-{}", std::process::id()));
        std::fs::write(&file, "from file\n").expect("a writable temp folder");
        let from_file = format!("secret = {{ file = {:?} }}", file.display().to_string());

        assert_eq!(
            resolve("secret = { env = \"NAME\" }", &env),
            Ok("from env".into())
        );
        assert_eq!(resolve(&from_file, &env), Ok("from file".into()));
        assert_eq!(
            resolve("secret = { command = [\"echo\", \"from command\"] }", &env),
            Ok("from command".into())
        );
        assert_eq!(resolve("secret = \"plain\"", &env), Ok("plain".into()));
        std::fs::remove_file(file).expect("it is there");
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_said() {
        let env = Env::empty();
        assert_eq!(
            resolve("secret = { env = \"NAME\" }", &env),
            Err(
                "Config: cannot get the secret from `NAME`: the environment variable is not set"
                    .into()
            )
        );
        assert!(
            resolve("secret = { file = \"/no/such/file\" }", &env)
                .is_err_and(|error| error.contains("`/no/such/file`"))
        );
        assert!(
            resolve("secret = { command = [\"false\"] }", &env)
                .is_err_and(|error| error.contains("exit status: 1"))
        );
        assert_eq!(
            resolve("secret = \"\"", &env),
            Err("Config: the secret is empty".into())
        );
        assert!(resolve("secret = \"a\\r\\nb\"", &env).is_err());
        assert!(parse("secret = { env = \"A\", file = \"b\" }").is_err());
        assert!(parse("secret = { evn = \"A\" }").is_err_and(|error| error.contains("`env`")));
        assert!(parse("secret = { command = [] }").is_err());
        assert!(parse("secret = 5").is_err());
    }

    #[test]
    fn what_hangs_ends_with_the_run() {
        for toml in [
            "secret = { command = [\"sleep\", \"600\"] }",
            "secret = { command = [\"sh\", \"-c\", \"sleep 600; echo x\"] }",
        ] {
            let (guard, token) = cancellation();
            let source = parse(toml).expect("it parses");
            let waiting =
                std::thread::spawn(move || source.resolve("secret", &Env::empty(), &token));
            drop(guard);
            let error = waiting.join().expect("no panic").expect_err("it hangs");
            assert_eq!(error.kind(), ErrorKind::Interrupted);
        }
    }

    #[test]
    fn a_secret_where_its_place_belongs_is_not_told() {
        let error = resolve("secret = { env = \"hunter22\" }", &Env::empty());
        assert!(error.is_err_and(|error| !error.contains("hunter22")));
        let error = resolve(
            "secret = { command = [\"no-such hunter22\"] }",
            &Env::empty(),
        );
        assert!(error.is_err_and(|error| !error.contains("hunter22") && error.contains("no-such")));
    }

    #[test]
    fn a_secret_is_found_whatever_white_space_is_in_it() {
        let secret = Secret::new("ab  cé+d");
        for text in [
            "ab  cé+d",
            "ab cé+d",
            "abcé+d",
            "a\nb\tcé+\u{1b}d",
            "a b c é + d",
        ] {
            assert_eq!(
                secret.hide_in(&format!("é <{text}>, <{text}> é")),
                "é <…>, <…> é"
            );
        }
        assert_eq!(secret.hide_in("ab cé-d"), "ab cé-d");
        assert_eq!(Secret::new(" ").hide_in("a b"), "a b");
    }

    #[test]
    fn debug_shows_nothing() {
        let source = SecretSource::Plain(Secret::new("s3cret"));
        assert_eq!(format!("{source:?}"), "Plain(Secret(…))");
    }
}
