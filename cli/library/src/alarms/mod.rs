//! Who is told how a run has ended: `[notify]`, and `metrics` of `[run]`.
//!
//! A run is told when it is over, by whoever has started it: [`raise`] is for
//! one that has a report, whether it was run or not. What cannot be told is a
//! warning, and takes nothing back.

mod command;
mod line;
mod metrics;
mod occasion;
mod webhook;

use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use mixflow_core::cancel::{CancelGuard, CancelToken};
use mixflow_core::config::{Alarms, Env, Notify};
use mixflow_core::report::RunReport;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_state::State;

use self::line::line;
use self::metrics::Numbers;
pub use self::occasion::News;
use self::occasion::told_as;

/// How long telling somebody may take.
const MOST: Duration = Duration::from_secs(10);

/// What a command that is killed may take to be gone.
const GRACE: Duration = Duration::from_secs(1);

/// How often it is looked whether the process is to end.
const LOOK: Duration = Duration::from_millis(50);

/// What telling takes.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Where secrets come from.
    pub env: &'a Env,
    /// The history, and locks of files.
    pub state: Option<&'a State>,
    /// Ends it at once.
    pub cancel: &'a CancelToken,
}

/// Tells those that a pipeline names, and returns what a person should know:
/// who could not be told, and why.
///
/// Blocks until they have heard of it, for some ten seconds at most.
pub fn raise(alarms: &Alarms, news: &News<'_>, means: &Means<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(path) = &alarms.metrics {
        let numbers = Numbers {
            report: news.report,
            missing_days: news.missing_days,
        };
        let state = means.state.map(State::folder);
        if let Err(error) = metrics::write(path, &numbers, state, means.cancel) {
            warnings.push(error.in_a_line());
        }
    }
    if let Some(notify) = &alarms.notify
        && let Some(occasion) = told_as(&notify.on, news, means.state)
    {
        let text = line(occasion, news.report);
        warnings.extend(notify_of(notify, &text, alarms, news.report, means));
    }
    warnings
}

fn notify_of(
    notify: &Notify,
    text: &str,
    alarms: &Alarms,
    report: &RunReport,
    means: &Means<'_>,
) -> Vec<String> {
    let mut jobs = Vec::new();
    if let Some(url) = notify.webhook.clone() {
        let body = webhook::body(text, report);
        let env = means.env.clone();
        let send = move |cancel: &CancelToken| webhook::send(&url, &env, body, MOST, cancel);
        jobs.push(Job::start("cannot notify the webhook", means.cancel, send));
    }
    if let Some(argv) = notify.command.clone() {
        let what = format!(
            "cannot notify `{}`",
            argv.first().map_or("", String::as_str)
        );
        let hidden = alarms.secret_variables.clone();
        let mut json = serde_json::to_vec(report).unwrap_or_default();
        json.push(b'\n');
        let run = move |cancel: &CancelToken| command::run(&argv, &hidden, json, cancel);
        jobs.push(Job::start(&what, means.cancel, run));
    }
    let until = Instant::now() + MOST;
    let results = jobs.into_iter().map(|job| job.wait(until, means.cancel));
    results
        .filter_map(Result::err)
        .map(|error| error.in_a_line())
        .collect()
}

/// Something that tells somebody, on a thread of its own, which is left to
/// itself when it takes too long.
struct Job {
    what: String,
    result: Receiver<Result<()>>,
    guard: CancelGuard,
}

impl Job {
    fn start(
        what: &str,
        cancel: &CancelToken,
        work: impl FnOnce(&CancelToken) -> Result<()> + Send + 'static,
    ) -> Job {
        let (guard, token) = cancel.child();
        let (sender, result) = bounded(1);
        let spawned = std::thread::Builder::new()
            .name("mixflow-notify".to_owned())
            .spawn({
                let sender = sender.clone();
                move || {
                    // Nobody may be there any more.
                    let _ = sender.send(work(&token));
                }
            });
        if let Err(error) = spawned {
            let message = "cannot start a thread";
            let _ = sender.send(Err(Error::new(ErrorKind::Io, message).with_source(error)));
        }
        Job {
            what: what.to_owned(),
            result,
            guard,
        }
    }

    /// Waits for the end of it, and puts an end to it when its time is over.
    fn wait(self, until: Instant, cancel: &CancelToken) -> Result<()> {
        let told = |result: Result<()>| result.map_err(|error| error.context(&*self.what));
        while Instant::now() < until && !cancel.is_cancelled() {
            match self.result.recv_timeout(LOOK) {
                Ok(result) => return told(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        drop(self.guard);
        // What is killed is reaped.
        let _ = self.result.recv_timeout(GRACE);
        let reason = match cancel.is_cancelled() {
            true => "it was interrupted",
            false => "it took longer than 10 seconds",
        };
        Err(Error::new(ErrorKind::Network, &*self.what).because(reason))
    }
}
