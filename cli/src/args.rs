//! The command line, as typed.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use mixflow_core::config::{Seconds, local_path};

/// Gets Mixpanel data out, whole and on time.
#[derive(Debug, Parser)]
#[command(
    name = "mixflow",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Global {
    /// Say nothing but warnings and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Log more: -v decisions, -vv requests, -vvv everything (RUST_LOG works too)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How to show progress on stderr
    #[arg(long, global = true, value_enum, default_value_t = ProgressStyle::Auto)]
    pub(crate) progress: ProgressStyle,
    /// Write the run report as JSON
    #[arg(long, global = true, value_name = "FILE", value_parser = local)]
    pub(crate) report: Option<PathBuf>,
    /// When to use colours on stderr
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
}

/// How to show progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressStyle {
    /// A bar on a terminal, otherwise a line every 5 seconds
    Auto,
    /// A bar
    Bar,
    /// A line every 5 seconds
    Plain,
    /// A JSON object a line, every second
    Json,
    /// Nothing
    Off,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run pipelines, one after the other
    ///
    /// Goes on to the next file after a failure, and exits with the worst code.
    Run(RunArgs),
    /// Check pipeline files, offline: no network, no secret needed
    Check(CheckArgs),
    /// Show what a run would do, without asking Mixpanel
    Plan(PlanArgs),
    /// Fetch without a pipeline file
    ///
    /// Credentials come from MIXPANEL_USERNAME, MIXPANEL_SECRET, MIXPANEL_PROJECT_ID,
    /// MIXPANEL_REGION and MIXPANEL_BASE_URL, or from the `[source]` table of --config FILE.
    #[command(subcommand)]
    Fetch(FetchCommand),
    /// Ask a DuckDB file in SQL, read-only
    Query(QueryArgs),
    /// List the tables of a DuckDB file
    Tables(TablesArgs),
    /// Show the columns of a table
    Schema(TableArgs),
    /// Show how a table was fetched, and what is missing from it
    Metadata(TableArgs),
    /// Show some rows of a table, picked at random
    Sample(SampleArgs),
    /// Show what is in each column of a table
    Summarize(SummarizeArgs),
    /// Remove a table and what is known of it
    Drop(DropArgs),
    /// Show the runs of the past, the latest first
    Runs(RunsArgs),
    /// Draw runs of the past as a page: where their time went, what they fetched, what is missing
    Report(ReportArgs),
    /// Write a pipeline file to begin with, with comments
    Init(InitArgs),
    /// Write a crate to begin a sink with, its tests included
    NewSink(NewSinkArgs),
    /// Print the completions of a shell, to be put where it reads them
    Completions(CompletionsArgs),
    /// Write manual pages
    Man(ManArgs),
    /// List the sources, transforms and sinks of this binary, with their options
    Components,
}

/// `mixflow run`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// Pipeline files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) changes: Changes,
    /// Fetch only what the last run lacks, and add it
    #[arg(long)]
    pub(crate) only_failed: bool,
    /// Wait while another run or program has the destination, for ever or for
    /// a TIME such as `5m`; otherwise only for a program, and only `60s`
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        value_parser = Seconds::from_str
    )]
    pub(crate) wait: Option<Option<Seconds>>,
}

/// `mixflow check`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CheckArgs {
    /// Pipeline files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) changes: Changes,
}

/// `mixflow plan`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PlanArgs {
    /// Pipeline file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) changes: Changes,
}

/// What is different from the file.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct Changes {
    /// Override a key of the file, such as sink.mode=replace
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Override source.from
    #[arg(long, value_name = "DAY", allow_hyphen_values = true)]
    pub(crate) from: Option<String>,
    /// Override source.to
    #[arg(long, value_name = "DAY", allow_hyphen_values = true)]
    pub(crate) to: Option<String>,
}

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

/// Which database.
#[derive(Debug, ClapArgs)]
pub(crate) struct DbArg {
    /// DuckDB file [default: ~/.mixpanel_data/{MIXPANEL_PROJECT_ID}.db]
    #[arg(long, value_name = "PATH", value_parser = local)]
    pub(crate) db: Option<PathBuf>,
}

/// How rows are shown.
#[derive(Debug, ClapArgs)]
pub(crate) struct ShowArgs {
    /// How to write rows [default: what the name of --output says, else table]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Write to a file, which appears when it is whole
    #[arg(long, value_name = "FILE", value_parser = local)]
    pub(crate) output: Option<PathBuf>,
}

/// How rows are written, and where to.
#[derive(Clone, Debug)]
pub(crate) struct OutputArgs {
    pub(crate) format: Format,
    pub(crate) output: Option<PathBuf>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Table,
    /// One JSON array of objects
    Json,
    /// A JSON object a line
    Jsonl,
    /// Comma-separated values with a header; NULL is empty
    Csv,
    /// Parquet, with zstd
    Parquet,
    /// An Arrow IPC stream
    Arrow,
}

/// `mixflow tables`.
#[derive(Debug, ClapArgs)]
pub(crate) struct TablesArgs {
    #[command(flatten)]
    pub(crate) db: DbArg,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `mixflow schema` and `mixflow metadata`.
#[derive(Debug, ClapArgs)]
pub(crate) struct TableArgs {
    /// The table
    pub(crate) table: String,
    #[command(flatten)]
    pub(crate) db: DbArg,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `mixflow sample`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SampleArgs {
    /// How many rows
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rows: u32,
    #[command(flatten)]
    pub(crate) of: TableArgs,
}

/// `mixflow summarize`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SummarizeArgs {
    #[command(flatten)]
    pub(crate) of: TableArgs,
    /// Draw the events of each day instead
    #[arg(long, conflicts_with_all = ["format", "output"])]
    pub(crate) plot: bool,
}

/// `mixflow drop`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DropArgs {
    /// The table
    pub(crate) table: String,
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// `mixflow runs`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunsArgs {
    /// How many runs
    #[arg(short = 'n', long = "last", value_name = "N", default_value_t = 20)]
    pub(crate) last: usize,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `mixflow report`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ReportArgs {
    /// The run, by its id or the beginning of it [default: the last one]
    #[arg(conflicts_with = "last")]
    pub(crate) run: Option<String>,
    /// The last N runs
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) last: usize,
    /// The page to write
    #[arg(long, value_name = "FILE", default_value = "report.html", value_parser = local)]
    pub(crate) output: PathBuf,
}

/// `mixflow new-sink`.
#[derive(Debug, ClapArgs)]
pub(crate) struct NewSinkArgs {
    /// What the sink is called; also the folder that is made
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// A clone of mixflow to build against [default: the one that this binary was built in, else git]
    #[arg(long, value_name = "DIR")]
    pub(crate) mixflow: Option<PathBuf>,
}

/// `mixflow init`.
#[derive(Debug, ClapArgs)]
pub(crate) struct InitArgs {
    /// The file to write, which must not be there
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `mixflow completions`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `mixflow man`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ManArgs {
    /// The folder to write a page for each command into
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

/// `mixflow fetch`.
#[derive(Debug, Subcommand)]
pub(crate) enum FetchCommand {
    /// Fetch events by date
    Events(FetchEvents),
    /// Fetch profiles
    Profiles(FetchProfiles),
}

/// `mixflow fetch events`.
#[derive(Debug, ClapArgs)]
pub(crate) struct FetchEvents {
    /// The table; ignored with --stdout
    #[arg(default_value = "events")]
    pub(crate) table: String,
    /// First day, inclusive: YYYY-MM-DD, today, yesterday or -7d
    #[arg(long, value_name = "DAY", allow_hyphen_values = true)]
    pub(crate) from: Option<String>,
    /// Last day, inclusive
    #[arg(long, value_name = "DAY", allow_hyphen_values = true)]
    pub(crate) to: Option<String>,
    /// Names of the events wanted, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) events: Vec<String>,
    /// Name of an event wanted; may have commas in it; may be repeated
    #[arg(long = "event", value_name = "NAME")]
    pub(crate) event: Vec<String>,
    /// Expression that events must satisfy
    #[arg(long = "where", value_name = "EXPRESSION")]
    pub(crate) where_: Option<String>,
    /// The most events, 1 to 100000
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) limit: Option<String>,
    /// Days of one request
    #[arg(long, value_name = "N")]
    pub(crate) window_days: Option<String>,
    #[command(flatten)]
    pub(crate) common: FetchCommon,
}

/// `mixflow fetch profiles`.
#[derive(Debug, ClapArgs)]
pub(crate) struct FetchProfiles {
    /// The table; ignored with --stdout
    #[arg(default_value = "profiles")]
    pub(crate) table: String,
    /// Expression that profiles must satisfy
    #[arg(long = "where", value_name = "EXPRESSION")]
    pub(crate) where_: Option<String>,
    /// Members of a cohort
    #[arg(long, value_name = "ID")]
    pub(crate) cohort: Option<String>,
    /// Property wanted; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) output_property: Vec<String>,
    /// Profile wanted; may be repeated
    #[arg(long, value_name = "ID")]
    pub(crate) distinct_id: Vec<String>,
    /// Group profiles: the id of the group key
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub(crate) group_id: Option<String>,
    #[command(flatten)]
    pub(crate) common: FetchCommon,
}

/// What both fetches take.
#[derive(Debug, ClapArgs)]
pub(crate) struct FetchCommon {
    /// Read in parallel: 10 workers for events, 5 for profiles
    #[arg(long)]
    pub(crate) parallel: bool,
    /// Number of workers
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<std::num::NonZeroUsize>,
    /// DuckDB file [default: ~/.mixpanel_data/{project_id}.db]
    #[arg(long, value_name = "PATH", conflicts_with = "stdout", value_parser = local)]
    pub(crate) db: Option<PathBuf>,
    /// Add to the table
    #[arg(long, group = "mode", conflicts_with = "stdout")]
    pub(crate) append: bool,
    /// Swap the table at the end
    #[arg(long, group = "mode", conflicts_with = "stdout")]
    pub(crate) replace: bool,
    /// Replace the fetched days of the table
    #[arg(long, group = "mode", conflicts_with = "stdout")]
    pub(crate) replace_window: bool,
    /// Let replacing leave less than half of the table, or of a day
    #[arg(long, conflicts_with = "stdout")]
    pub(crate) allow_shrink: bool,
    /// Write JSON lines to stdout instead of a table
    #[arg(long)]
    pub(crate) stdout: bool,
    /// Write the records as Mixpanel sends them
    #[arg(long, requires = "stdout")]
    pub(crate) raw: bool,
    /// File with a [source] table, for credentials and anything else
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Reads a path; a shell leaves the `~` of `--db=~/a.db` to us.
fn local(text: &str) -> Result<PathBuf, String> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    local_path(Path::new(text), home.as_deref())
}
