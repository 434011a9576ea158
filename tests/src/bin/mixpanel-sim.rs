//! The Mixpanel simulator as a program, for demonstrations and by hand.

#![forbid(unsafe_code)]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use jiff::ToSpan as _;
use mixflow_tests::sim::{Data, Endpoint, Fault, Limits, Simulator};

/// Answers Mixpanel's export and engage endpoints on the loopback interface.
///
/// Without --events, --profiles, --generate-events and --generate-profiles it
/// has the sample data: 8,000 events from 2024-01-01 to 2024-01-14 and 2,000
/// profiles.
#[derive(Debug, Parser)]
#[command(name = "mixpanel-sim")]
struct Args {
    /// The port; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Events in export form, one a line, plain or gzip.
    #[arg(long, value_name = "FILE", conflicts_with = "generate_events")]
    events: Option<PathBuf>,
    /// Profiles as in `results`, one a line, plain or gzip.
    #[arg(long, value_name = "FILE", conflicts_with = "generate_profiles")]
    profiles: Option<PathBuf>,
    /// Makes up this many events from 2024-01-01 to 2024-01-30.
    #[arg(long, value_name = "N")]
    generate_events: Option<usize>,
    /// Makes up this many profiles.
    #[arg(long, value_name = "N")]
    generate_profiles: Option<usize>,
    /// Decides what is made up.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Makes each event at least this long.
    #[arg(long, value_name = "BYTES")]
    pad_events: Option<usize>,
    /// Spreads the events evenly over this many days, from 2024-01-01 on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    spread_days: Option<u16>,
    /// Repeats the events, with new times and ids, until there are N.
    #[arg(long, value_name = "N")]
    amplify_events: Option<usize>,
    /// The user name of the service account.
    #[arg(long, value_name = "NAME", default_value = "sim")]
    user: String,
    /// The secret of the service account.
    #[arg(long, default_value = "sim-secret")]
    secret: String,
    /// A project secret that is accepted as well.
    #[arg(long, value_name = "SECRET")]
    project_secret: Option<String>,
    /// A bearer token that is accepted as well.
    #[arg(long)]
    token: Option<String>,
    /// The only project; by default all project ids are accepted.
    #[arg(long, value_name = "ID")]
    project_id: Option<String>,
    /// Profiles on a full page.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = page_size)]
    page_size: usize,
    /// The wait before each answer, such as 200ms.
    #[arg(long, default_value = "0s", value_parser = duration)]
    latency: Duration,
    /// Enforces Mixpanel's documented rate limits.
    #[arg(long)]
    limits: bool,
    /// A fault, such as `export nth=2 status=503 retry_after=1`; repeatable.
    #[arg(long, value_name = "RULE")]
    fault: Vec<Fault>,
    /// A file of faults, one a line.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Writes the requests to a file as JSON lines.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from(parsed).map_err(|error| format!("{error}"))
}

fn page_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("a page holds at least one profile".to_owned()),
        parsed => parsed.map_err(|error| format!("{error}")),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "this program has no other way to name its port and its errors"
)]
fn main() -> ExitCode {
    let args = Args::parse();
    let credentials = format!("user `{}`, secret `{}`", args.user, args.secret);
    match start(args) {
        Ok(sim) => {
            let data = sim.data();
            let (events, profiles) = (data.event_count(), data.profile_count());
            eprintln!("listening on {}", sim.base_url());
            eprintln!("{credentials}; {events} events, {profiles} profiles");
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            eprintln!("cannot start the simulator: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn start(args: Args) -> Result<Simulator, Box<dyn Error>> {
    let data = data(&args)?;
    let mut builder = Simulator::builder()
        .data(data)
        .credentials(args.user, args.secret)
        .page_size(args.page_size)
        .latency(args.latency)
        .port(args.port);
    if let Some(secret) = args.project_secret {
        builder = builder.project_secret(secret);
    }
    if let Some(token) = args.token {
        builder = builder.token(token);
    }
    if let Some(id) = args.project_id {
        builder = builder.project_id(id);
    }
    if args.limits {
        builder = builder
            .limits_of(Endpoint::Export, Limits::of_export())
            .limits_of(Endpoint::Engage, Limits::of_engage());
    }
    if let Some(path) = args.log {
        builder = builder.log_file(path);
    }
    let mut faults = args.fault;
    if let Some(path) = args.faults {
        faults.extend(Fault::parse_script(&std::fs::read_to_string(path)?)?);
    }
    let builder = faults
        .into_iter()
        .fold(builder, |builder, fault| builder.fault(fault));
    Ok(builder.start()?)
}

fn data(args: &Args) -> Result<Data, Box<dyn Error>> {
    let has_files = args.events.is_some() || args.profiles.is_some();
    let generates = args.generate_events.is_some() || args.generate_profiles.is_some();
    let data = match (has_files, generates) {
        (false, false) => Data::sample(),
        (false, true) => generated(args),
        (true, false) => Data::load(args.events.as_deref(), args.profiles.as_deref())?,
        // One of them from a file, the other made up.
        (true, true) => {
            let loaded = Data::load(args.events.as_deref(), args.profiles.as_deref())?;
            loaded.merged(generated(args))
        }
    };
    let data = match args.pad_events {
        Some(bytes) => data.padded(bytes),
        None => data,
    };
    let data = match args.spread_days {
        Some(days) => {
            let first = jiff::civil::date(2024, 1, 1);
            data.spread(first, first + (i64::from(days) - 1).days())
        }
        None => data,
    };
    Ok(match args.amplify_events {
        Some(events) => data.amplified(events),
        None => data,
    })
}

fn generated(args: &Args) -> Data {
    let events = args.generate_events.unwrap_or(0);
    let profiles = args.generate_profiles.unwrap_or(0);
    Data::generated(events, profiles, args.seed)
}
