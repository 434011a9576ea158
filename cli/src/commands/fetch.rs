//! `mixflow fetch`: the same engine without a pipeline file.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use mixflow::launch::{HistoryEntry, Patience};
use mixflow_core::config::{Known, Override, OverrideValue};
use mixflow_core::{Error, ErrorKind};

use crate::app::{App, Manner};
use crate::args::local;
use crate::exit::Exit;
use crate::report_file::Reports;
use crate::unrun::Unbuilt;

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
    /// Named connection, as `mixflow connections list` shows them
    #[arg(long, value_name = "NAME")]
    pub(crate) connection: Option<String>,
}

/// Workers of `--parallel` without a number.
const EVENT_WORKERS: usize = 10;
const PROFILE_WORKERS: usize = 5;

pub(crate) fn fetch(app: &App, command: &FetchCommand) -> Exit {
    let (name, common, changes) = match command {
        FetchCommand::Events(args) => ("fetch events", &args.common, events(args)),
        FetchCommand::Profiles(args) => ("fetch profiles", &args.common, profiles(args)),
    };
    let built = config(app, common)
        .map_err(|error| {
            app.ui.error(&error);
            Box::new(Unbuilt::new(name, Known::default(), error))
        })
        .and_then(|config| app.build(&config.origin, name, &config.text, &changes));
    let pipeline = match built {
        Ok(pipeline) => pipeline,
        Err(unbuilt) => return unbuilt_exit(app, *unbuilt),
    };
    if let Err(exit) = app.check_report(&pipeline) {
        return exit;
    }
    let manner = Manner {
        patience: Patience::default(),
        units: None,
        most_requests: None,
        entry: HistoryEntry::default(),
        remedy: remedy(command).to_owned(),
    };
    let report = app.run(&pipeline, manner);
    let exit = Exit::after(&report);
    app.write_report(&Reports::one(report));
    exit
}

/// Writes the report of what could not be built.
fn unbuilt_exit(app: &App, mut unbuilt: Unbuilt) -> Exit {
    app.raise(&unbuilt.alarms, &mut unbuilt.report, None, None);
    let exit = Exit::after(&unbuilt.report);
    app.write_report(&Reports {
        some_unbuilt: true,
        places: unbuilt.places,
        ..Reports::one(unbuilt.report)
    });
    exit
}

/// The text that flags change, and what it is called.
struct Config {
    origin: String,
    text: String,
}

/// Reads `--config`. Without one, everything comes from flags and variables,
/// so that these must be set unless a connection is named.
fn config(app: &App, args: &FetchCommon) -> Result<Config, Error> {
    let Some(path) = &args.config else {
        return match unset(app).filter(|_| args.connection.is_none()) {
            None => Ok(Config {
                origin: "the command line".to_owned(),
                text: String::new(),
            }),
            Some(variable) => Err(Error::new(ErrorKind::Config, "there are no credentials")
                .because(format!("{variable} is not set"))
                .hint("set MIXPANEL_USERNAME, MIXPANEL_SECRET and MIXPANEL_PROJECT_ID, or give `--connection NAME` or `--config FILE`")),
        };
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot read `--config {}`", path.display());
        Error::new(ErrorKind::Config, message).with_source(error)
    })?;
    Ok(Config {
        origin: path.display().to_string(),
        text,
    })
}

/// Returns the first variable without which nothing can be fetched.
fn unset(app: &App) -> Option<&'static str> {
    let needed = [
        "MIXPANEL_USERNAME",
        "MIXPANEL_SECRET",
        "MIXPANEL_PROJECT_ID",
    ];
    let is_set = |name| app.env.get(name).is_some_and(|value| !value.is_empty());
    needed.into_iter().find(|name| !is_set(name))
}

/// Returns what to do when something is missing at the end.
fn remedy(command: &FetchCommand) -> &'static str {
    match command {
        FetchCommand::Events(args) if args.common.stdout => {
            "fetch the missing days again, with their `--from` and `--to`"
        }
        FetchCommand::Events(_) => {
            "fetch the missing days again, with their `--from` and `--to` and with `--replace-window`"
        }
        FetchCommand::Profiles(args) if args.common.stdout => "fetch all of them again",
        FetchCommand::Profiles(_) => "fetch all of them again, with `--replace`",
    }
}

/// Collects what flags set, each with the words of the flag.
#[derive(Default)]
struct Flags(Vec<Override>);

impl Flags {
    fn text(&mut self, key: &str, flag: &str, value: Option<&String>) {
        if let Some(value) = value {
            let value_set = OverrideValue::Text(value.clone());
            self.0
                .push(Override::set(key, value_set, format!("{flag} {value}")));
        }
    }

    /// Sets a value that is a number if it looks like one.
    fn guess(&mut self, key: &str, flag: &str, value: Option<&String>) {
        if let Some(value) = value {
            let value_set = OverrideValue::Guess(value.clone());
            self.0
                .push(Override::set(key, value_set, format!("{flag} {value}")));
        }
    }

    fn list(&mut self, key: &str, flag: &str, values: &[String]) {
        if !values.is_empty() {
            let argument = format!("{flag} {}", values.join(","));
            let value = OverrideValue::List(values.to_vec());
            self.0.push(Override::set(key, value, argument));
        }
    }

    fn fixed(&mut self, key: &str, value: &str) {
        let value_set = OverrideValue::Text(value.to_owned());
        self.0
            .push(Override::set(key, value_set, "the command line".to_owned()));
    }
}

fn events(args: &FetchEvents) -> Vec<Override> {
    let mut flags = Flags::default();
    flags.fixed("source.type", "mixpanel_events");
    flags.text("source.from", "--from", args.from.as_ref());
    flags.text("source.to", "--to", args.to.as_ref());
    let names: Vec<String> = args.events.iter().chain(&args.event).cloned().collect();
    flags.list("source.events", "--events", &names);
    flags.text("source.where", "--where", args.where_.as_ref());
    flags.guess("source.limit", "--limit", args.limit.as_ref());
    flags.guess(
        "source.window_days",
        "--window-days",
        args.window_days.as_ref(),
    );
    common(&mut flags, &args.common, &args.table, EVENT_WORKERS);
    flags.0
}

fn profiles(args: &FetchProfiles) -> Vec<Override> {
    let mut flags = Flags::default();
    flags.fixed("source.type", "mixpanel_profiles");
    flags.text("source.where", "--where", args.where_.as_ref());
    flags.text("source.cohort_id", "--cohort", args.cohort.as_ref());
    flags.list(
        "source.output_properties",
        "--output-property",
        &args.output_property,
    );
    match args.distinct_id.as_slice() {
        [one] => flags.text("source.distinct_id", "--distinct-id", Some(one)),
        several => flags.list("source.distinct_ids", "--distinct-id", several),
    }
    flags.text("source.group_id", "--group-id", args.group_id.as_ref());
    common(&mut flags, &args.common, &args.table, PROFILE_WORKERS);
    flags.0
}

fn common(flags: &mut Flags, args: &FetchCommon, table: &str, parallel: usize) {
    flags.text(
        "source.connection",
        "--connection",
        args.connection.as_ref(),
    );
    if args.stdout {
        flags.fixed("sink.type", "jsonl");
        if args.raw {
            flags.fixed("sink.format", "raw");
        }
    } else {
        flags.fixed("sink.type", "duckdb");
        flags.text("sink.table", "TABLE", Some(&table.to_owned()));
        let db = args.db.as_ref().map(|path| path.display().to_string());
        flags.text("sink.path", "--db", db.as_ref());
        for (given, mode) in [
            (args.append, "append"),
            (args.replace, "replace"),
            (args.replace_window, "replace_window"),
        ] {
            if given {
                flags.fixed("sink.mode", mode);
            }
        }
        let allow_shrink = args.allow_shrink.then(|| "true".to_owned());
        flags.guess("sink.allow_shrink", "--allow-shrink", allow_shrink.as_ref());
    }
    let workers = match (args.workers, args.parallel) {
        (Some(workers), _) => Some(workers.get()),
        (None, true) => Some(parallel),
        (None, false) => None,
    };
    let workers = workers.map(|workers| workers.to_string());
    flags.guess("run.workers", "--workers", workers.as_ref());
}
