//! Named connections: projects and who asks for them, kept in one file of the
//! user's, so that pipeline files need only name one.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use mixflow_core::config::{Override, OverrideValue};
use mixflow_core::suggest::did_you_mean;
use mixflow_core::{Error, ErrorKind, Result};
use toml::{Table, Value};

/// The keys of a connection; they mean what they mean in `[source]`.
pub const KEYS: [&str; 5] = ["project_id", "region", "auth", "base_url", "timezone"];

/// Returns where connections are, as the environment and the user's home say:
/// `mixflow/connections.toml` in `XDG_CONFIG_HOME` or in `.config`.
pub fn connections_file(home: Option<&Path>) -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        // The specification: a relative one is to be ignored.
        .filter(|folder| folder.is_absolute())
        .or_else(|| home.map(|home| home.join(".config")))?;
    Some(folder.join("mixflow").join("connections.toml"))
}

/// The connections of a file.
#[derive(Debug)]
pub struct Connections {
    path: PathBuf,
    all: Vec<Connection>,
    is_open: bool,
}

/// A named connection. Secrets in it are not resolved, and its `Debug` form shows
/// none.
#[derive(Clone)]
pub struct Connection {
    /// What it is called.
    pub name: String,
    values: Vec<(String, OverrideValue)>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.name)
    }
}

impl Connections {
    /// Reads the connections of a file; one that is not there has none.
    ///
    /// Fails when it cannot be read, is no TOML, or has a key that no connection
    /// has. The error shows nothing of what stands in it.
    pub fn read(path: &Path) -> Result<Connections> {
        let cannot = || {
            let message = format!("cannot read the connections in `{}`", path.display());
            Error::new(ErrorKind::Config, message)
        };
        let mut text = String::new();
        let is_open = match File::open(path) {
            Ok(mut file) => {
                let read = file.read_to_string(&mut text);
                read.map_err(|error| cannot().with_source(error))?;
                is_open(&file).map_err(|error| cannot().with_source(error))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(cannot().with_source(error)),
        };
        let all = parse(&text).map_err(|reason| cannot().because(reason))?;
        Ok(Connections {
            path: path.to_owned(),
            all,
            is_open,
        })
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether others than its owner may read the file.
    pub fn is_open_to_others(&self) -> bool {
        self.is_open
    }

    /// Returns all of them, by name.
    pub fn all(&self) -> &[Connection] {
        &self.all
    }

    /// Returns the one of this name, or says which there are.
    pub fn get(&self, name: &str) -> Result<&Connection> {
        let found = self.all.iter().find(|one| one.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.all.iter().map(|one| one.name.as_str()).collect();
            let path = self.path.display();
            let message = match names.as_slice() {
                [] if self.path.exists() => {
                    format!("there is no connection `{name}`: `{path}` has none")
                }
                [] => format!("there is no connection `{name}`: there is no file `{path}`"),
                names => {
                    let known = names.join("`, `");
                    let meant = did_you_mean(name, names);
                    format!(
                        "there is no connection `{name}` in `{path}`, known are `{known}`{meant}"
                    )
                }
            };
            let hint =
                format!("write a table `[{name}]` with `project_id`, `region` and `auth` into it");
            Error::new(ErrorKind::Config, message).hint(hint)
        })
    }
}

impl Connection {
    /// Returns project, region, account, where the secret comes from, and base URL,
    /// as far as they are given, for people.
    pub fn described(&self) -> [Option<String>; 5] {
        let value = |key: &str| self.values.iter().find(|(known, _)| known == key);
        let text = |key: &str| value(key).and_then(|(_, value)| shown(value));
        let auth = match value("auth") {
            Some((_, OverrideValue::Table(members))) => members.as_slice(),
            _ => &[],
        };
        let member = |key: &str| auth.iter().find(|(known, _)| known == key);
        let account = member("username").and_then(|(_, value)| shown(value));
        let secret = ["secret", "project_secret", "token"].into_iter();
        let secret = secret
            .filter_map(member)
            .map(|(_, value)| place(value))
            .next();
        [
            text("project_id"),
            text("region"),
            account,
            secret,
            text("base_url"),
        ]
    }

    /// Returns what the connection says of a source, for the keys that a pipeline
    /// file leaves out.
    pub fn defaults(&self) -> impl Iterator<Item = Override> {
        let said_by = format!("the connection `{}`", self.name);
        self.values.iter().map(move |(key, value)| {
            Override::if_missing(format!("source.{key}"), value.clone(), said_by.clone())
        })
    }
}

fn shown(value: &OverrideValue) -> Option<String> {
    match value {
        OverrideValue::Text(text) | OverrideValue::Guess(text) => Some(text.clone()),
        _ => None,
    }
}

/// Says where a secret comes from, and nothing of it.
fn place(secret: &OverrideValue) -> String {
    let OverrideValue::Table(members) = secret else {
        return "in the file".to_owned();
    };
    match members.as_slice() {
        [(key, OverrideValue::Text(name))] if key == "env" || key == "file" => {
            format!("{key} {name}")
        }
        [(key, OverrideValue::List(argv))] if key == "command" => {
            let program = argv.first().map_or("", String::as_str);
            format!("command {program}")
        }
        _ => "unreadable".to_owned(),
    }
}

/// Whether others may read a file.
#[cfg(unix)]
fn is_open(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(file.metadata()?.permissions().mode() & 0o077 != 0)
}

/// Whether others may read a file: other systems keep that elsewhere.
#[cfg(not(unix))]
fn is_open(_: &File) -> io::Result<bool> {
    Ok(false)
}

fn parse(text: &str) -> Result<Vec<Connection>, String> {
    let root: Table = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.unwrap_or_default().matches('\n').count() + 1;
        format!("line {line} is no TOML: texts and names stand in quotes")
    })?;
    root.into_iter()
        .map(|(name, value)| one(name, value))
        .collect()
}

fn one(name: String, value: Value) -> Result<Connection, String> {
    let Value::Table(table) = value else {
        return Err(format!(
            "`{name}` stands outside of a table: a connection is a table with its name, such as `[prod]`"
        ));
    };
    let mut values = Vec::new();
    for (key, value) in table {
        if !KEYS.contains(&key.as_str()) {
            let known = KEYS.join("`, `");
            let meant = did_you_mean(&key, &KEYS);
            return Err(format!(
                "`[{name}]` has the unknown key `{key}`, expected one of `{known}`{meant}"
            ));
        }
        values.push((key, as_override(value)));
    }
    Ok(Connection { name, values })
}

fn as_override(value: Value) -> OverrideValue {
    match value {
        Value::String(text) => OverrideValue::Text(text),
        Value::Table(table) => {
            let members = table.into_iter();
            OverrideValue::Table(
                members
                    .map(|(key, value)| (key, as_override(value)))
                    .collect(),
            )
        }
        Value::Array(items) if items.iter().all(Value::is_str) => {
            let texts = items.iter().filter_map(Value::as_str);
            OverrideValue::List(texts.map(str::to_owned).collect())
        }
        // A number, or what the source will say is wrong.
        other => OverrideValue::Guess(other.to_string()),
    }
}
