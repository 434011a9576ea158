//! What several commands take.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args as ClapArgs, ValueEnum};
use mixflow_core::config::{DateSpec, local_path};

/// The heading of what every command takes.
pub(crate) const GLOBAL: &str = "Global options";

/// The heading of what only commands that run a pipeline take.
pub(crate) const RUNS: &str = "Run options";

/// What every command takes, and what every command that runs a pipeline does.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Global {
    /// How to show progress on stderr
    #[arg(long, global = true, value_enum, default_value_t = ProgressStyle::Auto,
        value_name = "STYLE", help_heading = RUNS)]
    pub(crate) progress: ProgressStyle,
    /// Write the run report as JSON
    #[arg(long, global = true, value_name = "FILE", value_parser = local, help_heading = RUNS)]
    pub(crate) report: Option<PathBuf>,
    /// Say nothing but warnings and errors
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub(crate) quiet: bool,
    /// Log more: -v decisions, -vv requests, -vvv everything (RUST_LOG works too)
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = GLOBAL)]
    pub(crate) verbose: u8,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto,
        value_name = "WHEN", hide_possible_values = true, help_heading = GLOBAL,
        long_help = "When to use colours: `auto` (on a terminal, unless NO_COLOR is set), `always` or `never`")]
    pub(crate) color: Color,
    /// How lines on stderr are written where no terminal is
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text,
        value_name = "FORMAT", hide_possible_values = true, help_heading = GLOBAL,
        long_help = "How lines on stderr are written: `text` (behind the time, the pipeline and the run; on a terminal as they are) or `json` (an object a line)")]
    pub(crate) log_format: LogFormat,
    /// Print help; `-h` is shorter
    #[arg(short, long, global = true, action = ArgAction::Help, help_heading = GLOBAL)]
    help: Option<bool>,
    /// Print version
    #[arg(short = 'V', long, global = true, action = ArgAction::Version, help_heading = GLOBAL)]
    version: Option<bool>,
}

/// How lines on stderr are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Behind the time, the pipeline and the run; on a terminal as they are
    Text,
    /// A JSON object a line, also on a terminal
    Json,
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

/// Which days of which pipeline's destination.
#[derive(Debug, ClapArgs)]
pub(crate) struct DaysArgs {
    /// Pipeline file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Override a key of the file, such as sink.table=other
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// First day: YYYY-MM-DD, today, yesterday or -7d [default: `start`, else the first day held]
    #[arg(long, value_name = "DAY", allow_hyphen_values = true)]
    pub(crate) from: Option<DateSpec>,
    /// Last day [default: yesterday]
    #[arg(long, value_name = "DAY", allow_hyphen_values = true)]
    pub(crate) to: Option<DateSpec>,
}

/// Which database.
#[derive(Debug, ClapArgs)]
pub(crate) struct DbArg {
    /// DuckDB file [default: ~/.mixpanel_data/{MIXPANEL_PROJECT_ID}.db]; of `tables`, `schema`,
    /// `metadata`, `status` and `query` also postgresql://…, sqlite:FILE, or env:NAME of a variable with one
    #[arg(long, value_name = "PATH", value_parser = database)]
    pub(crate) db: Option<PathBuf>,
}

impl DbArg {
    /// Returns the URI of a database of another sort, if that is what is meant.
    pub(crate) fn uri(&self) -> Option<&str> {
        self.db.as_deref()?.to_str().filter(|text| is_uri(text))
    }
}

#[cfg(feature = "databases")]
use mixflow::databases::is_uri;

#[cfg(not(feature = "databases"))]
fn is_uri(_text: &str) -> bool {
    false
}

/// Reads the path of a DuckDB file, or a URI.
fn database(text: &str) -> Result<PathBuf, String> {
    match is_uri(text) {
        true => Ok(PathBuf::from(text)),
        false => local(text),
    }
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

/// Reads a path; a shell leaves the `~` of `--db=~/a.db` to us.
pub(crate) fn local(text: &str) -> Result<PathBuf, String> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    local_path(Path::new(text), home.as_deref())
}
