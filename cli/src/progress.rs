//! Progress on stderr: a bar, plain lines, or JSON.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressStyle as BarStyle};
use mixflow_core::context::Notice;
use mixflow_core::observer::{Observer, Progress, RunEvent};

use crate::args::{Global, ProgressStyle};
use crate::ui::{Ui, count, counted, seconds};

/// How often a plain line is printed.
const PLAIN: Duration = Duration::from_secs(5);
/// How often a JSON line is printed.
const JSON: Duration = Duration::from_secs(1);
/// A run that is over before this shows no bar.
const DELAY: Duration = Duration::from_millis(250);

/// Shows how one run goes on.
pub(crate) struct Reporter {
    ui: Ui,
    style: Style,
    started: Instant,
    last: Instant,
}

enum Style {
    Off,
    Bar(ProgressBar),
    Plain,
    Json,
}

impl Reporter {
    pub(crate) fn new(ui: Ui, global: &Global) -> Reporter {
        let style = match global.progress {
            _ if global.quiet => Style::Off,
            ProgressStyle::Off => Style::Off,
            ProgressStyle::Plain => Style::Plain,
            ProgressStyle::Json => Style::Json,
            ProgressStyle::Bar => Style::Bar(bar()),
            // A bar and log lines would write over each other.
            ProgressStyle::Auto if io::stderr().is_terminal() && global.verbose == 0 => {
                Style::Bar(bar())
            }
            ProgressStyle::Auto => Style::Plain,
        };
        let now = Instant::now();
        Reporter {
            ui,
            style,
            started: now,
            last: now,
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }

    fn progress(&mut self, progress: &Progress) {
        match &self.style {
            Style::Off => {}
            Style::Bar(bar) => {
                if self.started.elapsed() < DELAY {
                    return;
                }
                // Rows if the source said how many come, otherwise partitions.
                match progress.expected_rows {
                    Some(rows) => {
                        bar.set_length(rows.max(progress.rows));
                        bar.set_position(progress.rows);
                    }
                    None => {
                        bar.set_length(progress.partitions as u64);
                        bar.set_position(progress.partitions_done as u64);
                    }
                }
                bar.set_message(line(progress));
            }
            Style::Plain => {
                if self.is_due(PLAIN) {
                    self.ui.status(&line(progress));
                }
            }
            Style::Json => {
                if self.is_due(JSON) {
                    self.json("progress", progress);
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

    fn json(&self, event: &str, progress: &Progress) {
        let line = serde_json::json!({
            "event": event,
            "rows": progress.rows,
            "expected_rows": progress.expected_rows,
            "rejected": progress.rejected,
            "bytes_received": progress.bytes,
            "requests": progress.requests,
            "retries": progress.retries,
            "partitions_done": progress.partitions_done,
            "partitions": progress.partitions,
            "elapsed_seconds": progress.elapsed.as_secs_f64(),
        });
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    fn say(&self, say: impl FnOnce(Ui)) {
        match &self.style {
            Style::Bar(bar) => bar.suspend(|| say(self.ui)),
            _ => say(self.ui),
        }
    }
}

impl Observer for Reporter {
    fn on_event(&mut self, event: &RunEvent<'_>) {
        match event {
            RunEvent::Planned { .. } => {}
            RunEvent::Progress(progress) => self.progress(progress),
            RunEvent::PartitionDone {
                label,
                error,
                progress,
                ..
            } => {
                if let Some(error) = error {
                    let mut text = format!("{label} failed: {error}");
                    if let Some(cause) = error.causes().last() {
                        text.push_str(": ");
                        text.push_str(cause);
                    }
                    self.say(|ui| ui.warning(&text));
                }
                match self.style {
                    Style::Json => self.json("partition_done", progress),
                    _ => self.progress(progress),
                }
            }
            // Told together, at the end.
            RunEvent::Notice(Notice::Reused { .. }) => {}
            RunEvent::Notice(Notice::Warning(text)) => self.say(|ui| ui.warning(text)),
            RunEvent::Notice(Notice::Retry {
                label,
                wait,
                reason,
            }) => {
                let wait = seconds(wait.as_secs_f64());
                self.say(|ui| ui.status(&format!("{label}: {reason}; trying again in {wait}")));
            }
            RunEvent::Notice(Notice::Wait {
                label,
                wait,
                reason,
            }) => {
                let wait = seconds(wait.as_secs_f64());
                self.say(|ui| ui.status(&format!("{label} waits {wait}: {reason}")));
            }
            RunEvent::Committing(progress) => match &self.style {
                Style::Bar(bar) => bar.set_message("committing"),
                Style::Json => self.json("committing", progress),
                Style::Off | Style::Plain => {}
            },
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = BarStyle::with_template("{bar:14} {percent:>3} % {eta:>4} {wide_msg}")
        .expect("the template is a constant");
    bar.set_style(style.progress_chars("━╸ "));
    bar
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
        count(progress.partitions_done as u64),
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
