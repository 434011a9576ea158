//! `mixflow backfill`.

use std::fmt::Write as _;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use clap::Args as ClapArgs;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use mixflow::launch::{HistoryEntry, Patience};
use mixflow::ledgers_of;
use mixflow_core::clock;
use mixflow_core::config::{Override, OverrideValue, misfits};
use mixflow_core::engine::Pipeline;
use mixflow_core::ledger::{Earlier, Held};
use mixflow_core::report::{RunReport, Status};
use mixflow_core::sink::WriteMode;
use mixflow_core::source::{Extent, Outline, Unit};
use mixflow_core::{Error, ErrorKind, Result};

use super::changes::overrides;
use super::jobs;
use super::status::places;
use crate::app::{App, Manner, OfFile};
use crate::args::Changes;
use crate::exit::Exit;
use crate::only_failed::canonical;
use crate::report_file::Reports;
use crate::ui::{count, counted};

/// `mixflow backfill`.
#[derive(Debug, ClapArgs)]
pub(crate) struct BackfillArgs {
    /// Pipeline file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The first day
    #[arg(long, value_name = "DAY", allow_hyphen_values = true)]
    pub(crate) from: String,
    /// The last day [default: yesterday]
    #[arg(long, value_name = "DAY", allow_hyphen_values = true)]
    pub(crate) to: Option<String>,
    /// Begin with the first day rather than the last
    #[arg(long)]
    pub(crate) oldest_first: bool,
    /// Commit after so many windows, which are the most that an interrupt loses
    #[arg(long, value_name = "N", default_value = "30")]
    pub(crate) commit_every: NonZeroU64,
    /// Stop after so many requests for a project, those that are made again included
    #[arg(long, value_name = "N")]
    pub(crate) max_requests: Option<u64>,
    /// Say what would be fetched, and ask nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Override a key of the file, such as sink.mode=append
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Fill so many projects of the file at once, each in a process of its own
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

/// Windows that a dry run names before the rest is only counted.
const SHOWN: usize = 12;

/// What is left to do.
struct Task<'a> {
    app: &'a App,
    args: &'a BackfillArgs,
    of: &'a OfFile,
    /// The days that no step has been at yet.
    first: Option<Date>,
    last: Option<Date>,
}

/// The next windows, in the order in which they are to be fetched.
struct Step {
    pipeline: Pipeline,
    outline: Outline,
}

pub(crate) fn backfill(app: &App, args: &BackfillArgs) -> Exit {
    let set = Changes {
        set: args.set.clone(),
        ..Changes::default()
    };
    let changes = match overrides(app, &set) {
        Ok(changes) => changes,
        Err(exit) => return exit,
    };
    let all = app.each(&args.file, &changes);
    if let Some(jobs) = args.jobs.filter(|jobs| jobs.get() > 1 && all.len() > 1)
        && !args.dry_run
    {
        return jobs::run(app, "backfill", &flags(args), &all, jobs);
    }
    let mut reports = Reports {
        several: true,
        ..Reports::default()
    };
    let mut is_first = true;
    let (Ok(worst) | Err(worst)) = app.in_turn("filling", &all, |of| {
        if !std::mem::replace(&mut is_first, false) && args.dry_run {
            app.ui.out("\n");
        }
        let mut task = Task {
            app,
            args,
            of,
            first: None,
            last: None,
        };
        let (Ok(exit) | Err(exit)) = task.go(&mut reports.list);
        Ok(exit)
    });
    if !reports.list.is_empty() {
        app.write_report(&reports);
    }
    worst
}

/// Returns what is said of each project, for a process of its own.
fn flags(args: &BackfillArgs) -> Vec<String> {
    let mut flags = vec![format!("--from={}", args.from)];
    flags.extend(args.to.iter().map(|to| format!("--to={to}")));
    flags.push(format!("--commit-every={}", args.commit_every));
    let most = args.max_requests.iter();
    flags.extend(most.map(|most| format!("--max-requests={most}")));
    if args.oldest_first {
        flags.push("--oldest-first".to_owned());
    }
    for set in &args.set {
        flags.extend(["--set".to_owned(), set.clone()]);
    }
    flags
}

impl Task<'_> {
    fn go(&mut self, reports: &mut Vec<RunReport>) -> Result<Exit, Exit> {
        let Some(step) = self.next()? else {
            self.app.ui.status("nothing is missing");
            return Ok(Exit::Done);
        };
        self.app.check_report(&step.pipeline)?;
        if self.args.dry_run {
            self.app.ui.out(&self.described(&step));
            return Ok(Exit::Done);
        }
        self.app.ui.status(&announced(&step.outline));
        let mut its_own = Vec::new();
        let exit = self.fetch(step, &mut its_own);
        reports.append(&mut its_own);
        exit
    }

    /// Fetches and commits, a step at a time, until nothing is left.
    fn fetch(&mut self, first: Step, reports: &mut Vec<RunReport>) -> Result<Exit, Exit> {
        let mut worst = Exit::Done;
        let mut next = Some(first);
        while let Some(step) = next {
            let left = self.requests_left(reports);
            if left == Some(0) {
                let windows = counted(step.outline.units.len() as u64, "window");
                self.app.ui.warning(&format!(
                    "the requests are used up; {windows} or more are left: run it again"
                ));
                return Ok(worst.max(Exit::Partial));
            }
            let most = left.unwrap_or(u64::MAX).min(self.args.commit_every.get());
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let mut units = step.outline.units;
            units.truncate(most);
            self.pass(&units);
            let report = self.app.run(
                &step.pipeline,
                Manner {
                    patience: Patience::default(),
                    units: Some(units),
                    most_requests: left,
                    entry: HistoryEntry {
                        pipeline_path: canonical(&self.args.file),
                        ..HistoryEntry::default()
                    },
                    remedy: "run it again: it goes on with what is missing".to_owned(),
                },
            );
            let exit = Exit::after(&report);
            worst = worst.max(match exit {
                // The days after it may be had all the same.
                Exit::Failed => Exit::Partial,
                exit => exit,
            });
            let goes_on = goes_on(&report);
            reports.push(report);
            if !goes_on {
                return Ok(worst.max(exit));
            }
            next = self.next()?;
        }
        let nothing = reports
            .iter()
            .all(|report| report.status == Status::Aborted);
        Ok(if nothing { Exit::Failed } else { worst })
    }

    /// Notes that a step has been at these windows, so that a day that fails is
    /// not asked for again and again.
    fn pass(&mut self, units: &[Unit]) {
        let Some(days) = units.last().and_then(days) else {
            return;
        };
        if self.args.oldest_first {
            self.first = days.1.tomorrow().ok();
        } else {
            self.last = days.0.yesterday().ok();
        }
    }

    fn requests_left(&self, reports: &[RunReport]) -> Option<u64> {
        let made: u64 = reports.iter().map(|report| report.requests).sum();
        let most = self.args.max_requests?;
        Some(most.saturating_sub(made))
    }

    /// Returns the windows that the destination lacks of the days that are
    /// left; `None` if it lacks none.
    fn next(&self) -> Result<Option<Step>, Exit> {
        let mut pipeline = self.pipeline()?;
        let held = self
            .prepared(&mut pipeline)
            .inspect_err(|error| self.app.ui.error(error))
            .map_err(|error| Exit::of(error.kind()))?;
        let mut outline = pipeline.source.outline(&held);
        if !self.args.oldest_first {
            outline.units.reverse();
        }
        let step = Step { pipeline, outline };
        Ok((!step.outline.units.is_empty()).then_some(step))
    }

    /// Builds the file's pipeline for the days that are left.
    fn pipeline(&self) -> Result<Pipeline, Exit> {
        let BackfillArgs { from, to, .. } = self.args;
        let text = |day: &Option<Date>| day.map(|day| day.to_string());
        let from = text(&self.first).unwrap_or_else(|| from.clone());
        let to = text(&self.last).or_else(|| to.clone());
        let to = to.unwrap_or_else(|| "yesterday".to_owned());
        let set = |key: &str, value| Override::set(key, value, "backfill".to_owned());
        let mut changes = self.of.overrides.clone();
        changes.extend([
            // Just what is missing, from here on.
            set("source.from", OverrideValue::Text("last".to_owned())),
            Override::set(
                "source.start",
                OverrideValue::Text(from.clone()),
                format!("--from {from}"),
            ),
            Override::set(
                "source.to",
                OverrideValue::Text(to.clone()),
                format!("--to {to}"),
            ),
            // Days that are stale are left to the daily job.
            set("source.lookback", OverrideValue::Nothing),
            Override::if_missing(
                "run.on_failure",
                OverrideValue::Text("keep".to_owned()),
                "backfill".to_owned(),
            ),
        ]);
        let of = self.of.with(changes);
        self.app.load_or_report(&of).map_err(|_| Exit::Usage)
    }

    /// Makes each sink replace days if it can, else add them, and returns what
    /// the destination holds.
    fn prepared(&self, pipeline: &mut Pipeline) -> Result<Held> {
        if pipeline.source.info().calendar.is_none() {
            let message = format!("cannot backfill `{}`", pipeline.name);
            return Err(Error::new(ErrorKind::Config, message)
                .because(format!("`{}` gives no days", pipeline.source_type)));
        }
        let Pipeline {
            source,
            transforms,
            sinks,
            ..
        } = pipeline;
        for named in sinks.iter_mut() {
            let replaced = named.sink.set_mode(WriteMode::ReplaceWindow);
            if replaced.is_ok() && misfits(&**source, transforms, &*named.sink).is_empty() {
                continue;
            }
            let place = named.sink.destination(&source.info().dataset.kind);
            if let Err(error) = named.sink.set_mode(WriteMode::Append)
                && place.path.is_some()
            {
                return Err(error.context(format!("cannot fill {place} part by part")));
            }
        }
        let ledgers = ledgers_of(pipeline, self.app.state_folder())?;
        let sinks = pipeline.sinks.iter().zip(ledgers);
        let held = sinks.map(|(named, (destination, ledger))| {
            let earlier = match named.sink.earlier() {
                Earlier::GoByDay => Earlier::GoByDay,
                Earlier::Stay | Earlier::Go => Earlier::Stay,
            };
            let ledger = ledger.into();
            (destination, Held { ledger, earlier })
        });
        let calendar = pipeline.source.info().calendar;
        let start = calendar.and_then(|calendar| calendar.start);
        Held::to_catch_up(&held.collect::<Vec<_>>(), start)
    }

    /// Says what would be fetched, a fact a line.
    fn described(&self, step: &Step) -> String {
        let outline = &step.outline;
        let mut text = String::new();
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<9} {value}");
        };
        row("pipeline", &step.pipeline.name);
        row("into", &places(&step.pipeline.destinations()));
        row("days", &days_in_words(outline));
        let labels: Vec<&str> = outline.units.iter().map(|u| u.label.as_str()).collect();
        let mut windows = labels[..labels.len().min(SHOWN)].join(", ");
        if labels.len() > SHOWN {
            let _ = write!(windows, " and {} more", labels.len() - SHOWN);
        }
        row("windows", &windows);
        let requests = outline.units.len() as u64;
        row("requests", &count(requests));
        row(
            "commits",
            &count(requests.div_ceil(self.args.commit_every.get())),
        );
        row("time", &time_in_words(outline));
        for note in &outline.notes {
            row("note", note);
        }
        text
    }
}

/// Whether the days that are left may be had after a run that ended so.
fn goes_on(report: &RunReport) -> bool {
    match report.status {
        Status::Committed | Status::Partial => true,
        Status::Stopped => false,
        // Another day may be whole.
        Status::Aborted => matches!(
            report.error_kind(),
            Some(ErrorKind::Incomplete | ErrorKind::Data | ErrorKind::Request | ErrorKind::Other)
        ),
    }
}

fn days(unit: &Unit) -> Option<(Date, Date)> {
    match unit.extent {
        Extent::Days(days) => Some((days.first, days.last)),
        Extent::Page(_) | Extent::Whole => None,
    }
}

/// Says what is about to be fetched, and until when.
fn announced(outline: &Outline) -> String {
    let requests = counted(outline.units.len() as u64, "request");
    format!(
        "fetching {} with {requests}: {}",
        days_in_words(outline),
        time_in_words(outline)
    )
}

fn days_in_words(outline: &Outline) -> String {
    let all = || outline.units.iter().filter_map(days);
    let number: i64 = all()
        .map(|(first, last)| i64::from((last - first).get_days()) + 1)
        .sum();
    let number = counted(number.unsigned_abs(), "day");
    let first = all().map(|(first, _)| first).min();
    let last = all().map(|(_, last)| last).max();
    match (first, last) {
        (Some(first), Some(last)) => format!("{number} between {first} and {last}"),
        _ => number,
    }
}

/// Says how long the quota makes it take, and when it will be done.
fn time_in_words(outline: &Outline) -> String {
    let hours = hours_of_waiting(outline);
    if hours == 0 {
        return "within the quota of this hour".to_owned();
    }
    let end = clock::now()
        .checked_add(SignedDuration::from_hours(hours))
        .unwrap_or(Timestamp::MAX);
    format!(
        "about {} for the quota, until {} UTC",
        counted(hours.unsigned_abs(), "hour"),
        end.strftime("%Y-%m-%d %H:%M")
    )
}

/// Returns the hours until the last request may be made.
fn hours_of_waiting(outline: &Outline) -> i64 {
    let Some(hourly) = outline.requests_per_hour.map(|n| u64::from(n).max(1)) else {
        return 0;
    };
    let used = outline.used_in_last_hour.unwrap_or(0).min(hourly);
    let later = (outline.units.len() as u64).saturating_sub(hourly - used);
    i64::try_from(later.div_ceil(hourly)).unwrap_or(i64::MAX)
}
