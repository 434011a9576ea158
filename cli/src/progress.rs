//! Progress on stderr: a bar, plain lines, or JSON.

use std::time::{Duration, Instant};

use indicatif::{
    DecimalBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle,
};
use mixflow_core::Error;
use mixflow_core::context::Notice;
use mixflow_core::observer::{Observer, Progress, RunEvent};
use mixflow_core::report::{RunReport, Status};
use mixflow_core::source::Source;
use serde_json::{Value, json};

use crate::args::{Global, ProgressStyle};
use crate::interrupt;
use crate::lines::Form;
use crate::now::{Now, Phase, far};
use crate::screen::plain_line;
use crate::ui::{Ui, count, counted, seconds};

/// How often a plain line is printed.
const PLAIN: Duration = Duration::from_secs(5);
/// How often a JSON line is printed.
const JSON: Duration = Duration::from_secs(1);
/// No clock goes further; a wait as long as this has no end worth telling.
const FOREVER: Duration = Duration::from_secs(30 * 86_400);
/// A wait longer than this is told whatever else is not.
const LONG: Duration = Duration::from_secs(60);
/// A run that is over before this shows no bar.
const DELAY: Duration = Duration::from_millis(250);

/// Shows how one run goes on.
pub(crate) struct Reporter {
    ui: Ui,
    style: Style,
    started: Instant,
    last: Instant,
    /// Requests that were left of the hour when the run began, if that is
    /// known.
    quota: Option<u64>,
    now: Now,
    /// What has failed and is not told yet: if the run ends by it, its error says
    /// so.
    untold: Option<String>,
}

enum Style {
    Off,
    Bar(Bars),
    Plain,
    Json,
}

/// A terminal of fewer columns has no bar, but words only.
const WITH_BAR: usize = 60;

/// How wide the bar is, with what stands behind it.
const BAR: usize = 21;

/// A line that says what happens now, and below it one for each worker that does
/// something, if there are several.
struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    workers: Vec<Option<ProgressBar>>,
}

impl Reporter {
    pub(crate) fn new(ui: Ui, global: &Global, source: &dyn Source) -> Reporter {
        // What draws over itself is no line.
        let draws = ui.form() == Form::Screen;
        let style = match global.progress {
            _ if global.quiet => Style::Off,
            ProgressStyle::Off => Style::Off,
            ProgressStyle::Plain => Style::Plain,
            ProgressStyle::Json => Style::Json,
            ProgressStyle::Bar if ui.form() != Form::Json => Style::Bar(Bars::new()),
            // A bar and log lines would write over each other.
            ProgressStyle::Auto if draws && global.verbose == 0 => Style::Bar(Bars::new()),
            ProgressStyle::Auto | ProgressStyle::Bar => Style::Plain,
        };
        // Reads the ledger, which is for nothing if nobody is told.
        let quota = match style {
            Style::Off => None,
            _ => quota_left(source),
        };
        if matches!(style, Style::Json) {
            interrupt::answer_with(move |_| ui.json(&json!({ "event": "stopping" })));
        }
        let now = Instant::now();
        Reporter {
            ui,
            style,
            started: now,
            last: now,
            quota,
            now: Now::default(),
            untold: None,
        }
    }

    /// Takes the bars away.
    pub(crate) fn finish(&self) {
        if let Style::Bar(bars) = &self.style {
            for bar in bars.workers.iter().flatten().chain([&bars.total]) {
                bar.finish_and_clear();
            }
        }
        interrupt::answer_plainly();
    }

    /// Says how it ended, if everything is told as JSON; otherwise whoever
    /// asks says it in words.
    pub(crate) fn finished(&self, report: &RunReport) -> bool {
        if !matches!(self.style, Style::Json) {
            return false;
        }
        let level = match report.status {
            Status::Committed | Status::Stopped => "info",
            Status::Partial => "warn",
            Status::Aborted => "error",
        };
        let mut ended = json!({ "event": "finished", "level": level });
        if let (Some(ended), Ok(Value::Object(report))) =
            (ended.as_object_mut(), serde_json::to_value(report))
        {
            // What was told line by line, and may be long, is not told again.
            let told = ["partitions", "waits"];
            let rest = report
                .into_iter()
                .filter(|(key, _)| !told.contains(&key.as_str()));
            ended.extend(rest);
        }
        self.ui.json(&ended);
        true
    }

    fn progress(&mut self, progress: &Progress) {
        match &self.style {
            Style::Off => {}
            Style::Bar(bars) => {
                if self.started.elapsed() < DELAY {
                    return;
                }
                bars.show(&self.now, progress, self.quota_left(progress));
            }
            Style::Plain => {
                if self.is_due(PLAIN) {
                    self.ui.status(&self.line(progress));
                }
            }
            Style::Json => {
                if self.is_due(JSON) {
                    self.json("progress", progress, json!({}));
                }
            }
        }
    }

    fn is_due(&mut self, every: Duration) -> bool {
        let due = self.last.elapsed() >= every;
        if due {
            self.last = Instant::now();
        }
        due
    }

    /// Prints totals, with more members.
    fn json(&self, event: &str, progress: &Progress, more: Value) {
        let mut line = json!({
            "event": event,
            "rows": progress.rows,
            "expected_rows": progress.expected_rows,
            "rejected": progress.rejected,
            "bytes_received": progress.bytes,
            "requests": progress.requests,
            "retries": progress.retries,
            "quota_left": self.quota_left(progress),
            "partitions_read": progress.partitions_read,
            "partitions_done": progress.partitions_done,
            "partitions": progress.partitions,
            "elapsed_seconds": progress.elapsed.as_secs_f64(),
        });
        if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        self.ui.json(&line);
    }

    fn quota_left(&self, progress: &Progress) -> Option<u64> {
        self.quota
            .map(|quota| quota.saturating_sub(progress.requests))
    }

    /// Says something of its own, in words or as JSON.
    fn say(&self, json: Value, say: impl FnOnce(Ui)) {
        match &self.style {
            Style::Json => self.ui.json(&json),
            Style::Bar(bars) => bars.all.suspend(|| say(self.ui)),
            Style::Off | Style::Plain => say(self.ui),
        }
    }

    fn notice(&mut self, notice: &Notice) {
        match notice {
            // Told together, at the end.
            Notice::Reused { .. } => {}
            Notice::Warning(text) => {
                let json = json!({ "event": "warning", "level": "warn", "message": text });
                self.say(json, |ui| ui.warning(text));
            }
            Notice::Retry {
                label,
                wait,
                reason,
            } => self.pause("retry", label, *wait, reason, |wait| {
                format!("{label}: {reason}; trying again in {wait}")
            }),
            Notice::Wait {
                label,
                wait,
                reason,
            } => self.pause("wait", label, *wait, reason, |wait| {
                format!("{label} waits {wait}: {reason}")
            }),
        }
    }

    fn pause(
        &mut self,
        event: &str,
        label: &str,
        wait: Duration,
        reason: &str,
        text: impl FnOnce(String) -> String,
    ) {
        let until = Instant::now() + wait.min(FOREVER);
        self.now.waits(label, until, reason);
        let is_long = wait > LONG;
        let wait = wait.as_secs_f64();
        let json = json!({
            "event": event, "label": label, "wait_seconds": wait, "reason": reason,
        });
        let text = text(seconds(wait));
        self.say(json, |ui| {
            if is_long {
                ui.wait(&text);
            } else {
                ui.status(&text);
            }
        });
    }

    /// Returns the totals in a line.
    fn line(&self, progress: &Progress) -> String {
        let mut text = line(progress);
        if let Some(left) = self.quota_left(progress) {
            text.push_str(&format!(", {} left this hour", counted(left, "request")));
        }
        if let Some((label, left)) = self.now.longest_wait() {
            text.push_str(&format!("; {}", goes_on(label, left)));
        }
        text
    }
}

impl Reporter {
    fn queued(&self, behind: &str, destination: &str) {
        let json = json!({
            "event": "queued", "behind": behind, "destination": destination,
        });
        self.say(json, |ui| {
            ui.status(&format!(
                "waiting for {behind} to be done with {destination}"
            ));
        });
    }

    fn planned(&mut self, partitions: usize, expected_rows: Option<u64>, workers: usize) {
        self.now.phase = Phase::Reading;
        match &mut self.style {
            Style::Json => self.ui.json(&json!({
                "event": "planned", "partitions": partitions,
                "expected_rows": expected_rows, "workers": workers,
            })),
            Style::Bar(bars) => bars.planned(workers),
            Style::Off | Style::Plain => {}
        }
    }

    fn partition_started(&mut self, label: &str, worker: usize) {
        self.now.busy += 1;
        match &mut self.style {
            Style::Json => self.ui.json(&json!({
                "event": "partition_started", "label": label, "worker": worker,
            })),
            Style::Bar(bars) => bars.started(worker, label),
            Style::Off | Style::Plain => {}
        }
    }

    fn partition_read(&mut self, label: &str, worker: usize, progress: &Progress) {
        self.now.ended(label);
        match &mut self.style {
            Style::Json => {
                let more = json!({ "label": label, "worker": worker });
                self.json("partition_read", progress, more);
            }
            Style::Bar(bars) => {
                bars.ended(worker);
                self.progress(progress);
            }
            Style::Off | Style::Plain => {}
        }
    }

    fn partition_done(
        &mut self,
        label: &str,
        rows: u64,
        error: Option<&Error>,
        progress: &Progress,
    ) {
        if matches!(self.style, Style::Json) {
            let (status, level) = match error {
                Some(_) => ("failed", "warn"),
                None => ("done", "info"),
            };
            let error = error.map(in_a_line);
            let more = json!({
                "level": level, "label": label, "partition_rows": rows, "status": status,
                "error": error,
            });
            self.json("partition_done", progress, more);
            return;
        }
        self.untold = error.map(|error| {
            let why = in_a_line(error);
            match why.starts_with(label) {
                true => why,
                false => format!("{label} failed: {why}"),
            }
        });
        if error.is_none() {
            self.progress(progress);
        }
    }

    /// Tells what has failed, as the run goes on all the same.
    fn tell_failure(&mut self) {
        if let Some(text) = self.untold.take() {
            self.say(Value::Null, |ui| ui.warning(&text));
        }
    }

    fn committing(&mut self, progress: &Progress) {
        self.now.phase = Phase::Committing;
        match &self.style {
            Style::Bar(bars) => bars.show(&self.now, progress, None),
            Style::Json => self.json("committing", progress, json!({})),
            Style::Off | Style::Plain => {}
        }
    }
}

impl Observer for Reporter {
    fn on_event(&mut self, event: &RunEvent<'_>) {
        self.tell_failure();
        match event {
            RunEvent::Queued {
                behind,
                destination,
            } => self.queued(behind, destination),
            RunEvent::Planned {
                partitions,
                expected_rows,
                workers,
            } => self.planned(*partitions, *expected_rows, *workers),
            RunEvent::PartitionStarted { label, worker } => self.partition_started(label, *worker),
            RunEvent::PartitionRead {
                label,
                worker,
                progress,
            } => self.partition_read(label, *worker, progress),
            RunEvent::Progress(progress) => self.progress(progress),
            RunEvent::PartitionDone {
                label,
                rows,
                error,
                progress,
            } => self.partition_done(label, *rows, *error, progress),
            RunEvent::Notice(notice) => self.notice(notice),
            RunEvent::Committing(progress) => self.committing(progress),
        }
    }
}

impl Bars {
    fn new() -> Bars {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let total = all.add(ProgressBar::no_length());
        let screen = all.clone();
        // Whoever presses Ctrl-C reads the answer above the bar.
        interrupt::answer_with(move |answer| screen.suspend(answer));
        Bars {
            all,
            total,
            workers: Vec::new(),
        }
    }

    /// Has a line for each worker that does something; one worker is told by the
    /// bar itself.
    fn planned(&mut self, workers: usize) {
        // More lines than these would push the bar off the screen.
        const MOST: usize = 16;
        if workers > 1 && self.workers.is_empty() {
            self.workers.resize_with(workers.min(MOST), || None);
        }
    }

    fn started(&mut self, worker: usize, label: &str) {
        let style = BarStyle::with_template("  {prefix:>2} {wide_msg} {elapsed:>4}");
        let style = style.expect("the template is a constant");
        let Some(place) = self.workers.get_mut(worker) else {
            return;
        };
        let line = self.all.add(ProgressBar::no_length());
        line.set_style(style);
        line.set_prefix((worker + 1).to_string());
        line.set_message(plain_line(label).into_owned());
        if let Some(old) = place.replace(line) {
            self.all.remove(&old);
        }
    }

    fn ended(&mut self, worker: usize) {
        if let Some(line) = self.workers.get_mut(worker).and_then(Option::take) {
            line.finish_and_clear();
            self.all.remove(&line);
        }
    }

    /// Draws what happens now.
    fn show(&self, now: &Now, progress: &Progress, quota_left: Option<u64>) {
        let columns = console::Term::stderr().size_checked();
        let columns = columns.map_or(80, |(_, columns)| usize::from(columns));
        let is_wide = columns >= WITH_BAR;
        let template = if is_wide {
            "{bar:14} {percent:>3} % {msg}"
        } else {
            "{msg}"
        };
        let style = BarStyle::with_template(template).expect("the template is a constant");
        self.total.set_style(style.progress_chars("━╸ "));
        // Rows if the source said how many come, otherwise partitions.
        let (at, of) = far(progress);
        self.total.set_length(of);
        self.total.set_position(at);
        let room = if is_wide { columns - BAR } else { columns };
        self.total.set_message(now.line(progress, quota_left, room));
        for worker in self.workers.iter().flatten() {
            worker.tick();
        }
    }
}

/// Says when who waits goes on: by the clock, and from now.
fn goes_on(label: &str, left: Duration) -> String {
    let at = (jiff::Timestamp::now() + left).strftime("%H:%M:%S");
    format!(
        "{label} goes on at {at} UTC, in {}",
        seconds(left.as_secs_f64())
    )
}

/// Returns the requests that are left of the hour, if that is known.
fn quota_left(source: &dyn Source) -> Option<u64> {
    let outline = source.outline(&mixflow_core::ledger::Held::default());
    let used = outline.used_in_last_hour.unwrap_or(0);
    Some(u64::from(outline.requests_per_hour?).saturating_sub(used))
}

/// Returns an error and its innermost cause.
fn in_a_line(error: &Error) -> String {
    match error.causes().last() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Returns the totals in a line.
fn line(progress: &Progress) -> String {
    let elapsed = progress.elapsed.as_secs_f64().max(0.001);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate that a person reads"
    )]
    let (rows, bytes) = (
        (progress.rows as f64 / elapsed) as u64,
        (progress.bytes as f64 / elapsed) as u64,
    );
    let mut text = format!(
        "{} of {}, {} ({} rows/s",
        count(progress.partitions_read as u64),
        counted(progress.partitions as u64, "partition"),
        counted(progress.rows, "row"),
        count(rows),
    );
    if progress.bytes > 0 {
        text.push_str(&format!(", {}/s", DecimalBytes(bytes)));
    }
    text.push(')');
    if progress.retries > 0 {
        text.push_str(&format!(", {} tried again", count(progress.retries)));
    }
    if progress.rejected > 0 {
        text.push_str(&format!(", {} rejected", count(progress.rejected)));
    }
    text
}
