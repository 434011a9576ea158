//! `mixflow query`.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_duckdb::Store;

use super::hints;
use crate::app::App;
use crate::args::{DbArg, Format, OutputArgs, ShowArgs, local};
use crate::interrupt::EndsAtSignals;
use crate::output;

/// `mixflow query`.
#[derive(Debug, ClapArgs)]
pub(crate) struct QueryArgs {
    /// The query; `-` reads it from stdin
    #[arg(required_unless_present = "file")]
    pub(crate) sql: Option<String>,
    /// Read the query from a file
    #[arg(short, long, value_name = "FILE", value_parser = local, conflicts_with = "sql")]
    pub(crate) file: Option<PathBuf>,
    /// The text that `$NAME` in the query stands for; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    pub(crate) params: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) db: DbArg,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
    /// Print the one value of the answer and nothing else
    #[arg(long, conflicts_with_all = ["format", "output"])]
    pub(crate) scalar: bool,
    /// What DuckDB may use before it works on disk
    #[arg(long, value_name = "SIZE", default_value = "1GB")]
    pub(crate) memory: String,
}

pub(crate) fn query(app: &App, args: &QueryArgs) -> Result<()> {
    let signals = EndsAtSignals::from_now();
    let (sql, typed) = text(args)?;
    if typed && let Some(note) = hints::taken_by_a_shell(&sql) {
        app.ui.warning(&note);
    }
    let store = Store::open_for_queries(path(app, &args.db)?, Some(&args.memory))?;
    signals.by(store.interrupter());
    asked(app, &store, &sql, args).map_err(|error| hints::hinted(error, &sql))
}

/// Asks the query and shows the answer.
fn asked(app: &App, store: &Store, sql: &str, args: &QueryArgs) -> Result<()> {
    let mut query = store.query_with(sql, &args.params)?;
    if args.scalar {
        app.ui.out(&(output::scalar(query.batches()?)? + "\n"));
        return Ok(());
    }
    let (is_plan, how) = (query.is_plan(), how(&args.show));
    let batches = query.batches()?;
    if is_plan && how.format == Format::Table && how.output.is_none() {
        app.ui.out(&output::plan(batches)?);
        return Ok(());
    }
    output::write(&how, &batches.schema(), batches)
}

/// Returns the query, and whether it was typed into a shell.
pub(super) fn text(args: &QueryArgs) -> Result<(String, bool)> {
    let unread = |what: String| {
        move |error| Error::new(ErrorKind::Io, format!("cannot read {what}")).with_source(error)
    };
    if let Some(file) = &args.file {
        let what = format!("the query file `{}`", file.display());
        let sql = std::fs::read_to_string(file).map_err(unread(what))?;
        return Ok((sql, false));
    }
    match args.sql.as_deref().unwrap_or_default() {
        "-" => {
            let mut sql = String::new();
            let read = std::io::stdin().read_to_string(&mut sql);
            read.map_err(unread("the query from stdin".to_owned()))?;
            Ok((sql, false))
        }
        sql => Ok((sql.to_owned(), true)),
    }
}

/// Reads `NAME=VALUE`.
fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("this has no `=`; write NAME=VALUE")?;
    let name = name.strip_prefix('$').unwrap_or(name);
    let mut letters = name.chars();
    let begins = |c: char| c.is_alphabetic() || c == '_';
    let is_name = letters.next().is_some_and(begins);
    if !is_name || !letters.all(|c| c.is_alphanumeric() || c == '_') {
        return Err(format!(
            "`{name}` is no name: letters, digits and `_`, a letter first"
        ));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Opens the database that is meant, for reading; a signal ends what it is
/// asked.
pub(super) fn store(app: &App, args: &DbArg) -> Result<Store> {
    let signals = EndsAtSignals::from_now();
    let store = Store::open_for_queries(path(app, args)?, None)?;
    signals.by(store.interrupter());
    Ok(store)
}

/// Returns where the database is that is meant.
pub(super) fn path(app: &App, args: &DbArg) -> Result<std::path::PathBuf> {
    if let Some(uri) = args.uri() {
        let (scheme, _) = uri.split_once(':').unwrap_or_default();
        let error = Error::new(ErrorKind::Config, "this command asks DuckDB files only");
        return Err(error
            .because(format!("`--db {scheme}:…` is no file of DuckDB's"))
            .hint(
                "ask other databases with `tables`, `schema`, `metadata`, `status` and `query`",
            ));
    }
    let path = args.db.clone().or_else(|| app.default_db());
    path.ok_or_else(|| {
        Error::new(ErrorKind::Config, "it is not known which database to ask")
            .hint("give `--db PATH`, or set MIXPANEL_PROJECT_ID")
    })
}

/// Asks the database and writes the answer.
pub(super) fn answer(store: &Store, sql: &str, show: &ShowArgs) -> Result<()> {
    let mut query = store.query(sql)?;
    let batches = query.batches()?;
    output::write(&how(show), &batches.schema(), batches)
}

/// Returns how rows are to be written.
pub(super) fn how(show: &ShowArgs) -> OutputArgs {
    output::resolve(show.format, show.output.clone())
}
