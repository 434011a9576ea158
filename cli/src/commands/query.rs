//! `mixflow query`.

use std::io::Read as _;

use clap::Args as ClapArgs;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_duckdb::Store;

use crate::app::App;
use crate::args::{DbArg, Format, OutputArgs, ShowArgs};
use crate::interrupt::EndsAtSignals;
use crate::output;

/// `mixflow query`.
#[derive(Debug, ClapArgs)]
pub(crate) struct QueryArgs {
    /// The query; `-` reads it from stdin
    pub(crate) sql: String,
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
    let sql = match args.sql.as_str() {
        "-" => {
            let mut sql = String::new();
            std::io::stdin().read_to_string(&mut sql).map_err(|error| {
                Error::new(ErrorKind::Io, "cannot read the query from stdin").with_source(error)
            })?;
            sql
        }
        sql => sql.to_owned(),
    };
    let store = Store::open_for_queries(path(app, &args.db)?, Some(&args.memory))?;
    signals.by(store.interrupter());
    let mut query = store.query(&sql)?;
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
