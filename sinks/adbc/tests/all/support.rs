//! Databases, and ways to look into them.

use std::path::{Path, PathBuf};

use adbc_core::options::{AdbcVersion, OptionDatabase, OptionValue};
use adbc_core::{Connection as _, Database as _, Driver as _, LOAD_FLAG_DEFAULT, Statement as _};
use adbc_driver_manager::{ManagedConnection, ManagedDriver};
use arrow::record_batch::RecordBatch;
use mixflow_core::config::{Secret, SecretSource};
use mixflow_core::registry::BuildContext;
use mixflow_core::sink::WriteMode;
use mixflow_sink_adbc::{AdbcOptions, AdbcSink};

/// The prebuilt DuckDB, which has an ADBC driver in it.
pub fn duckdb() -> Option<PathBuf> {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.libduckdb/libduckdb.so");
    library.exists().then_some(library)
}

pub fn plain(text: impl Into<String>) -> Option<SecretSource> {
    Some(SecretSource::Plain(Secret::new(text)))
}

/// Options of a sink into the table `events`.
pub fn options(driver: &Path, uri: &str, mode: WriteMode) -> AdbcOptions {
    AdbcOptions {
        driver: Some(driver.display().to_string()),
        uri: plain(uri),
        table: Some("events".to_owned()),
        mode: Some(mode),
        ..AdbcOptions::default()
    }
}

pub fn sink(options: AdbcOptions) -> AdbcSink {
    let cx = BuildContext::new("2024-02-01T00:00:00Z".parse().unwrap());
    AdbcSink::new(options, &cx).unwrap()
}

/// Connects without any code of ours.
pub fn connect(driver: &Path, options: &[(&str, &str)]) -> ManagedConnection {
    let entrypoint = driver
        .ends_with("libduckdb.so")
        .then_some(b"duckdb_adbc_init".as_slice());
    let version = AdbcVersion::V110;
    let mut driver =
        ManagedDriver::load_from_name(driver, entrypoint, version, LOAD_FLAG_DEFAULT, None)
            .unwrap();
    let options = options
        .iter()
        .map(|(name, value)| (OptionDatabase::from(*name), OptionValue::from(*value)));
    let database = driver.new_database_with_opts(options).unwrap();
    database.new_connection().unwrap()
}

pub fn ask(connection: &mut ManagedConnection, sql: &str) -> Result<Vec<RecordBatch>, String> {
    let mut statement = connection.new_statement().unwrap();
    statement.set_sql_query(sql).unwrap();
    let reader = statement.execute().map_err(|error| error.message)?;
    reader
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}
