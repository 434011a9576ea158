//! What a run does just now, in a line.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use console::{measure_text_width, truncate_str};
use indicatif::DecimalBytes;
use mixflow_core::observer::Progress;

use crate::screen::plain_line;
use crate::ui::{count, counted};

/// A time to the end is guessed after this, and this share of the work.
const GUESSED_AFTER: Duration = Duration::from_secs(3);
const GUESSED_FROM: f64 = 0.05;

/// What a run does.
#[derive(Default)]
pub(crate) struct Now {
    pub(crate) phase: Phase,
    /// Workers that have a partition.
    pub(crate) busy: usize,
    /// Who waits, until when, and for what.
    waits: HashMap<String, (Instant, String)>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The source is opened, and says what there is to read.
    #[default]
    Planning,
    Reading,
    Committing,
}

impl Now {
    /// Notes that somebody waits.
    pub(crate) fn waits(&mut self, label: &str, until: Instant, reason: &str) {
        let wait = (until, plain_line(reason).into_owned());
        self.waits.insert(label.to_owned(), wait);
    }

    /// Notes that a worker is through with a partition.
    pub(crate) fn ended(&mut self, label: &str) {
        self.busy = self.busy.saturating_sub(1);
        self.waits.remove(label);
    }

    /// Returns who waits longest, and for how long yet.
    pub(crate) fn longest_wait(&self) -> Option<(&str, Duration)> {
        let (label, (until, _)) = self.waits.iter().max_by_key(|(_, (until, _))| *until)?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some((label, left))
    }

    /// Returns what happens now in at most `room` columns: the state, and behind it
    /// as much as there is room for, what is most wanted first.
    pub(crate) fn line(&self, progress: &Progress, quota: Option<u64>, room: usize) -> String {
        let state = self.state(progress);
        let mut line = truncate_str(&state, room, "…").into_owned();
        for part in self.parts(progress, quota) {
            if measure_text_width(&line) + 3 + measure_text_width(&part) > room {
                break;
            }
            line.push_str(" · ");
            line.push_str(&part);
        }
        line
    }

    /// Returns what is done, in a word or with what it waits for.
    fn state(&self, progress: &Progress) -> String {
        let is_through = progress.partitions > 0 && progress.partitions_read == progress.partitions;
        match self.phase {
            Phase::Committing => "committing".to_owned(),
            Phase::Reading if is_through => "writing".to_owned(),
            phase => match self.all_wait() {
                Some(waiting) => waiting,
                None if phase == Phase::Planning => "planning".to_owned(),
                None => "fetching".to_owned(),
            },
        }
    }

    /// Says what is waited for, if nobody does anything else.
    fn all_wait(&self) -> Option<String> {
        let now = Instant::now();
        let waiting = self.waits.values().filter(|(until, _)| *until > now);
        if waiting.clone().count() < self.busy.max(1) {
            return None;
        }
        let (until, reason) = waiting.min_by_key(|(until, _)| *until)?;
        let left = *until - now;
        let how_long = match left.as_secs() {
            // Until it is over, which is not "0 s".
            seconds @ ..60 => format!("{} s", seconds + 1),
            _ => {
                let at = jiff::Timestamp::now() + left;
                format!("until {} UTC", at.strftime("%H:%M"))
            }
        };
        Some(format!("waiting {how_long}: {reason}"))
    }

    fn parts(&self, progress: &Progress, quota: Option<u64>) -> Vec<String> {
        let mut parts = Vec::new();
        match (progress.rows, progress.bytes) {
            (0, 0) => {}
            // Rows come when a window is whole.
            (0, bytes) => parts.push(format!("{} received", DecimalBytes(bytes))),
            (rows, _) => parts.push(counted(rows, "row")),
        }
        if progress.partitions > 1 {
            let (read, all) = (progress.partitions_read, progress.partitions);
            parts.push(format!("{} of {}", count(read as u64), count(all as u64)));
        }
        if progress.bytes > 0 {
            parts.push(format!("{}/s", DecimalBytes(per_second(progress))));
        }
        if let Some(quota) = quota {
            parts.push(format!("{} left", counted(quota, "request")));
        }
        if self.phase == Phase::Reading {
            parts.extend(left(progress).map(about));
        }
        if progress.retries > 0 {
            parts.push(format!("{} tried again", count(progress.retries)));
        }
        if progress.rejected > 0 {
            parts.push(format!("{} rejected", count(progress.rejected)));
        }
        parts
    }
}

/// Returns how far a run is, and how far it goes: in rows if the source said how
/// many come, otherwise in partitions.
pub(crate) fn far(progress: &Progress) -> (u64, u64) {
    match progress.expected_rows {
        Some(rows) => (progress.rows, rows.max(progress.rows)),
        None => (progress.partitions_read as u64, progress.partitions as u64),
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate that a person reads"
)]
fn per_second(progress: &Progress) -> u64 {
    (progress.bytes as f64 / progress.elapsed.as_secs_f64().max(0.001)) as u64
}

/// Guesses the time to the end from what is done.
#[expect(clippy::cast_precision_loss, reason = "a guess")]
fn left(progress: &Progress) -> Option<Duration> {
    let (at, of) = far(progress);
    let done = at as f64 / of.max(1) as f64;
    let is_told = progress.elapsed >= GUESSED_AFTER && (GUESSED_FROM..1.0).contains(&done);
    is_told.then(|| progress.elapsed.mul_f64((1.0 - done) / done))
}

/// Names a guess as such.
fn about(left: Duration) -> String {
    match left.as_secs() {
        seconds @ ..90 => format!("about {seconds} s left"),
        seconds @ ..5_400 => format!("about {} min left", seconds / 60),
        seconds => format!("about {} h left", seconds / 3_600),
    }
}
