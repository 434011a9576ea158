//! What becomes of a file that is no database any more.

use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use crate::failure::Failure;
use crate::place::{DATABASE, Identity, beside, identity};
use crate::turn::Turn;

/// What stands in a name between the database's own and the time.
const DAMAGED: &str = ".damaged-";

/// Returns the names of the databases that were set aside, the oldest first, as
/// far as the folder can be read.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let is_database = |name: &String| {
        let rest = name.strip_prefix(DATABASE);
        let time = rest.and_then(|rest| rest.strip_prefix(DAMAGED));
        time.is_some_and(|time| {
            !["-wal", "-shm", "-journal"]
                .iter()
                .any(|end| time.ends_with(end))
        })
    };
    let mut names: Vec<String> = names.filter(is_database).collect();
    names.sort();
    names
}

/// Gives a damaged database another name, and returns it.
///
/// With `seen`, only if the file is still that one: `None` if another process
/// has been here before, which then has also made a new one.
pub(crate) fn set_aside(
    _turn: &Turn,
    path: &Path,
    seen: Option<Identity>,
) -> Result<Option<String>, Failure> {
    if seen.is_some() && seen != identity(path) {
        return Ok(None);
    }
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let names = std::iter::once(String::new()).chain((2..).map(|n| format!("-{n}")));
    let name = names
        .map(|more| format!("{DATABASE}{DAMAGED}{time}{more}"))
        .find(|name| !path.with_file_name(name).exists())
        .unwrap_or_default();
    let to = path.with_file_name(&name);
    // The database first: SQLite removes a log beside a file that is not there
    // or empty, while one without its log might pass for an older one.
    fs::rename(path, &to)?;
    for suffix in ["-wal", "-shm", "-journal"] {
        match fs::rename(beside(path, suffix), beside(&to, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(Some(name))
}
