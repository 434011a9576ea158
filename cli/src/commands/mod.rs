//! One file a command.

mod archive;
mod backfill;
mod catalog;
mod changes;
mod check;
#[cfg(feature = "lake")]
mod commit;
mod components;
mod connections;
#[cfg(feature = "databases")]
mod databases;
mod docs;
mod examples;
mod fetch;
mod gaps;
mod guide;
mod hints;
mod init;
mod jobs;
mod new_sink;
mod plan;
mod query;
mod reference;
mod replay;
mod report;
mod run;
mod runs;
mod schema_file;
mod sql;
mod status;
mod summarize;
mod tables;
mod test;
#[cfg(feature = "lake")]
mod unit;
mod vacuum;
#[cfg(feature = "lake")]
mod write_plan;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::app::App;
use crate::args::Global;
use crate::exit::Exit;

/// Gets Mixpanel data out, whole and on time.
#[derive(Debug, Parser)]
#[command(
    name = "mixflow",
    version,
    propagate_version = true,
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 100
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run pipelines, one after the other
    ///
    /// Goes on to the next file after a failure, and exits with the worst code.
    Run(run::RunArgs),
    /// Check pipeline files: no network, no secret needed
    ///
    /// With --online, a small request says whether the credentials are right.
    Check(check::CheckArgs),
    /// Run the tests of pipelines, offline
    ///
    /// For `daily.toml` they are in `daily.test.toml`: each `[[test]]` has a `name`, records as
    /// `input`, and the `rows` that are to come of them. Neither source nor sink is asked.
    Test(test::TestArgs),
    /// Show what a run would do, without asking Mixpanel
    ///
    /// With --output, write the units for `unit run` and `commit` instead, so that several machines
    /// do the work.
    Plan(plan::PlanArgs),
    /// Show what a pipeline's destination holds, day by day
    ///
    /// On a terminal it is a calendar; elsewhere, and with --format, a row a day.
    /// Needs no secret, asks no server, and changes nothing. With --db it shows what the tables
    /// of a database hold, or one of them, whichever pipeline wrote it.
    Status(status::StatusArgs),
    /// Show the days that a pipeline's destination lacks, as ranges
    ///
    /// A day is lacking if it is missing or partial. Exit 0 if there is none, 3 if there are.
    Gaps(gaps::GapsArgs),
    /// Fetch without a pipeline file
    ///
    /// Credentials come from MIXPANEL_USERNAME, MIXPANEL_SECRET, MIXPANEL_PROJECT_ID,
    /// MIXPANEL_REGION and MIXPANEL_BASE_URL, from a named --connection, or from the `[source]`
    /// table of --config FILE.
    #[command(subcommand)]
    Fetch(fetch::FetchCommand),
    /// Run a pipeline over what its archive has, without a request
    ///
    /// The file needs `[archive]`; neither credentials nor a server are. Takes the newest body of
    /// each day; days that the archive lacks, or that are damaged in it, are named, with exit 3.
    Replay(replay::ReplayArgs),
    /// Look after the bodies that `[archive]` has kept
    #[command(subcommand)]
    Archive(archive::ArchiveCommand),
    /// List named connections, or test whether they work
    ///
    /// A pipeline file names one with `connection = "prod"` in its `[source]`.
    #[command(subcommand)]
    Connections(connections::ConnectionsCommand),
    /// Ask a DuckDB file in SQL, read-only
    Query(query::QueryArgs),
    /// Ask a DuckDB file in a shell, with history and completion
    ///
    /// A query ends with `;`. `.help` says what else there is. From a pipe, the queries are asked one
    /// after the other.
    Sql(sql::SqlArgs),
    /// Show every property of a table, with types and examples
    ///
    /// Also how many rows have it, and since when. The fullest come first. Exit 3 if --diff is given and something differs.
    Catalog(catalog::CatalogArgs),
    /// List the tables of a DuckDB file
    Tables(tables::TablesArgs),
    /// Show the columns of a table
    Schema(tables::TableArgs),
    /// Show how a table was fetched, and what is missing from it
    Metadata(tables::TableArgs),
    /// Show some rows of a table, picked at random
    Sample(tables::SampleArgs),
    /// Show what is in a table: its days, events, people and properties
    Summarize(summarize::SummarizeArgs),
    /// Remove a table and what is known of it
    Drop(tables::DropArgs),
    /// Fetch the days that the destination lacks, the last first
    ///
    /// Commits every 30 windows, so that an interrupt loses no more than those; run again
    /// it goes on. Says the requests and the time first.
    Backfill(backfill::BackfillArgs),
    /// Read one unit of a plan, on any machine
    #[cfg(feature = "lake")]
    #[command(subcommand)]
    Unit(unit::UnitCommand),
    /// Commit the units of a plan that machines have left on a stage
    ///
    /// One run into the pipeline's sink, in its mode; a second time there is nothing to do. Exit 3,
    /// and nothing is committed, if units are missing.
    #[cfg(feature = "lake")]
    Commit(commit::CommitArgs),
    /// Remove what runs that died have left at a pipeline's destination
    ///
    /// Such as files of a Delta table that no commit ever named. No reader sees them, and the next
    /// run removes them, too. Needs no secret and asks Mixpanel nothing.
    Vacuum(vacuum::VacuumArgs),
    /// Show past runs, the latest first
    Runs(runs::RunsArgs),
    /// Draw past runs as an HTML page
    ///
    /// It shows where their time went, what they fetched and what is missing.
    Report(report::ReportArgs),
    /// Write a pipeline file to begin with, with comments
    Init(init::InitArgs),
    /// Write a crate to begin a sink with, its tests included
    NewSink(new_sink::NewSinkArgs),
    /// Print the completions of a shell
    Completions(docs::CompletionsArgs),
    /// Write manual pages
    Man(docs::ManArgs),
    /// Show what may stand in a pipeline file: its tables and their keys
    ///
    /// That is every source, transform and sink of this binary, and the other tables. With names,
    /// such as `duckdb`, `run` or `source.retry`, only those.
    Components(components::ComponentsArgs),
    /// Print the JSON Schema of pipeline files, for editors
    ///
    /// An editor that knows TOML completes and checks with it what is written behind the line
    /// `#:schema PATH` at the top of the file.
    SchemaFile,
    /// Bring the generated parts of a clone's pages up to date
    #[command(hide = true)]
    Docs(reference::ReferenceArgs),
}

/// Reads the command line of this process.
pub(crate) fn parse() -> Result<Args, clap::Error> {
    let mut command = guide::guided(Args::command());
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    let args = Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    guide::check_report(&mut command, &matches, args.global.report.is_some())?;
    Ok(args)
}

/// Does what the command line says.
pub(crate) fn dispatch(app: &App, command: &Command) -> Exit {
    match command {
        Command::Run(args) => run::run(app, args),
        Command::Check(args) => check::check(app, args),
        Command::Test(args) => test::test(app, args),
        Command::Plan(args) => plan::plan(app, args),
        Command::Status(args) => status::status(app, args),
        Command::Gaps(args) => gaps::gaps(app, args),
        Command::Vacuum(args) => vacuum::vacuum(app, args),
        Command::Fetch(args) => fetch::fetch(app, args),
        Command::Replay(args) => replay::replay(app, args),
        Command::Archive(command) => archive::archive(app, command),
        Command::Connections(command) => connections::connections(app, command),
        #[cfg(feature = "databases")]
        Command::Query(args) if args.db.uri().is_some() => app.exit_of(databases::query(app, args)),
        #[cfg(feature = "databases")]
        Command::Tables(args) if args.db.uri().is_some() => {
            app.exit_of(databases::tables(app, args))
        }
        #[cfg(feature = "databases")]
        Command::Schema(args) if args.db.uri().is_some() => {
            app.exit_of(databases::schema(app, args))
        }
        #[cfg(feature = "databases")]
        Command::Metadata(args) if args.db.uri().is_some() => {
            app.exit_of(databases::metadata(app, args))
        }
        Command::Sql(args) => app.exit_of(sql::sql(app, args)),
        Command::Query(args) => app.exit_of(query::query(app, args)),
        Command::Catalog(args) => catalog::catalog(app, args),
        Command::Tables(args) => app.exit_of(tables::tables(app, args)),
        Command::Schema(args) => app.exit_of(tables::schema(app, args)),
        Command::Metadata(args) => app.exit_of(tables::metadata(app, args)),
        Command::Sample(args) => app.exit_of(tables::sample(app, args)),
        Command::Summarize(args) => app.exit_of(summarize::summarize(app, args)),
        Command::Drop(args) => app.exit_of(tables::drop(app, args)),
        Command::Backfill(args) => backfill::backfill(app, args),
        #[cfg(feature = "lake")]
        Command::Unit(command) => unit::unit(app, command),
        #[cfg(feature = "lake")]
        Command::Commit(args) => commit::commit(app, args),
        Command::Runs(args) => app.exit_of(runs::runs(app, args)),
        Command::Report(args) => app.exit_of(report::report(app, args)),
        Command::Init(args) => app.exit_of(init::init(app, args)),
        Command::NewSink(args) => app.exit_of(new_sink::new_sink(app, args)),
        Command::Completions(args) => docs::completions(app, args, guide::guided(Args::command())),
        Command::Man(args) => app.exit_of(docs::man(app, args, guide::guided(Args::command()))),
        Command::Components(args) => app.exit_of(components::components(app, args)),
        Command::SchemaFile => {
            schema_file::schema_file(app);
            Exit::Done
        }
        Command::Docs(args) => app.exit_of(reference::reference(
            app,
            args,
            guide::guided(Args::command()),
        )),
    }
}
