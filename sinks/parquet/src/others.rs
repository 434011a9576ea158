//! What others have committed while a run went on, where no lock keeps them out: in
//! buckets, and in lake tables.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::Date;
use mixflow_core::sink::{WriteMode, already_exists};
use mixflow_core::unit::Dataset;
use mixflow_core::{Error, ErrorKind, Result};

use crate::ledger::FileLedger;

/// How often a commit is tried that others are quicker than.
pub const TRIES: u32 = 50;

/// The longest wait before the next try.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Returns how long to wait after a try that others were quicker than; `luck` is from 0
/// to 1, so that two do not always meet.
pub fn pause(tried: u32, luck: f64) -> Duration {
    let longest = Duration::from_millis(20 << tried.min(7)).min(LONGEST_WAIT);
    longest.mul_f64(0.5 + luck / 2.0)
}

/// Returns the error of a run that cannot commit to what people call `shown`.
pub fn refused(shown: &str, why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Destination, format!("cannot commit to {shown}")).because(why)
}

/// A run, and what others have committed since it began.
#[derive(Debug)]
pub struct Others<'r> {
    /// What all of them write to: ``the table `events` ``.
    pub shown: &'r str,
    /// What was found, as a sentence begins: `somebody has committed version 3`.
    pub found: String,
    /// What the run does with what is there.
    pub mode: WriteMode,
    /// What was held when it began.
    pub before: &'r FileLedger,
    /// What is held now.
    pub now: &'r FileLedger,
    /// Which data it has.
    pub dataset: &'r Dataset,
    /// The days of it.
    pub days: &'r BTreeSet<Date>,
}

impl Others<'_> {
    /// Checks that the run's commit is right beside theirs: that it adds or replaces
    /// days, and others have committed none of the same.
    pub fn check(self) -> Result<()> {
        let Others { shown, found, .. } = self;
        match self.mode {
            WriteMode::Create => return Err(already_exists(shown).because(found)),
            WriteMode::Replace => {
                let why = format!("{found}, and its rows would go unseen");
                return Err(refused(shown, why).hint("look at them, and run it again"));
            }
            WriteMode::Append | WriteMode::ReplaceWindow => {}
        }
        let changed = self.now.changed_days(self.before, self.dataset, self.days);
        match changed.first() {
            Some(day) => Err(
                refused(shown, format!("{found}, with the same days: {day}"))
                    .hint("run it again; it then begins with what is there now"),
            ),
            None => Ok(()),
        }
    }
}
