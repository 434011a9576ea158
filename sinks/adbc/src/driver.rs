//! Finding and loading a driver: a library that somebody has installed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use adbc_core::LOAD_FLAG_DEFAULT;
use adbc_core::options::AdbcVersion;
use adbc_driver_manager::ManagedDriver;
use mixflow_core::{Error, ErrorKind, Result};

use crate::dialect::Dialect;
use crate::place::name_of;

/// Drivers that were loaded. They stay to the end of the process: not every
/// library can be unloaded.
static LOADED: OnceLock<Mutex<HashMap<String, ManagedDriver>>> = OnceLock::new();

/// Loads a driver: the name of a manifest, or the path of a library or manifest.
///
/// Fails with [`ErrorKind::Config`] and says where to get it.
pub(crate) fn load(driver: &str) -> Result<ManagedDriver> {
    let loaded = LOADED.get_or_init(Mutex::default);
    let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = loaded.get(driver) {
        return Ok(known.clone());
    }
    let found = find(driver)?;
    loaded.insert(driver.to_owned(), found.clone());
    Ok(found)
}

fn find(driver: &str) -> Result<ManagedDriver> {
    let entrypoint =
        (Dialect::of_driver(driver) == Dialect::Duckdb).then_some(b"duckdb_adbc_init".as_slice());
    let load = |name: &str| {
        let version = AdbcVersion::V110;
        ManagedDriver::load_from_name(name, entrypoint, version, LOAD_FLAG_DEFAULT, None)
    };
    let first = match load(driver) {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    // As libraries are called that are not named by a manifest.
    let is_name = !driver.contains(['/', '\\', '.']);
    let library = format!("adbc_driver_{}", name_of(driver));
    if is_name
        && driver != library
        && let Ok(found) = load(&library)
    {
        return Ok(found);
    }
    let looked = first
        .message
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let error = Error::new(
        ErrorKind::Config,
        format!("cannot load the database driver `{driver}`"),
    );
    Err(match Path::new(driver).exists() {
        true => error
            .because(looked)
            .hint("check that it is an ADBC driver for this machine"),
        false => error.because(looked).hint(format!(
            "install it, such as with `pip install adbc-driver-{}`, and give `driver` the path of the library in that package, or the name of a manifest in ~/.config/adbc/drivers",
            name_of(driver)
        )),
    })
}
