//! Secrets: where they come from, and a type that does not print them.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::env::Env;
use super::path::local_path;
use crate::error::{Error, ErrorKind, Result};

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
    /// planning. An empty secret is an error.
    pub fn resolve(&self, what: &str, env: &Env) -> Result<Secret> {
        let fail = |place: String| {
            Error::new(
                ErrorKind::Config,
                format!("cannot get the {what} from {place}"),
            )
        };
        let text = match self {
            SecretSource::Plain(secret) => secret.0.clone(),
            SecretSource::Env(name) => env.get(name).ok_or_else(|| {
                fail(format!("`{name}`"))
                    .because("the environment variable is not set")
                    .hint(format!(
                        "set {name}; under cron, in the crontab or the script"
                    ))
            })?,
            SecretSource::File(path) => {
                let home = env.get("HOME").map(PathBuf::from);
                let place = || fail(format!("`{}`", path.display()));
                let file =
                    local_path(path, home.as_deref()).map_err(|reason| place().because(reason))?;
                std::fs::read_to_string(file).map_err(|error| place().with_source(error))?
            }
            SecretSource::Command(argv) => {
                run(argv).map_err(|cause| fail(format!("`{}`", argv[0])).because(cause))?
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

fn run(argv: &[String]) -> Result<String, String> {
    let output = Command::new(&argv[0])
        .args(&argv[1..])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("it ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| "what it printed is not UTF-8".to_owned())
}

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
            .resolve("secret", env)
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
    fn debug_shows_nothing() {
        let source = SecretSource::Plain(Secret::new("s3cret"));
        assert_eq!(format!("{source:?}"), "Plain(Secret(…))");
    }
}
