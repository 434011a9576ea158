//! When requests were made, shared by the processes of a machine.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Limits;

const HOUR_MS: u64 = 3_600_000;
const SECOND_MS: u64 = 1_000;

/// A time to wait, and why.
pub(super) type Wait = (Duration, String);

/// The requests of the last hour and second. Times are milliseconds since 1970.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Book {
    /// The requests that count for the hour.
    hour: VecDeque<u64>,
    second: VecDeque<u64>,
    /// What a 429 asked for; it holds for everybody.
    paused_until: u64,
    pause_reason: String,
}

impl Book {
    /// Books a request now, or says how long to wait and why.
    pub(super) fn reserve(&mut self, limits: Limits, counts: bool, now: u64) -> Result<(), Wait> {
        self.forget(now);
        if self.paused_until > now {
            let wait = Duration::from_millis(self.paused_until - now);
            return Err((wait, self.pause_reason.clone()));
        }
        let wait = |window: &VecDeque<u64>, length: u64, most: u32| {
            // With more in it than allowed (another process has a larger
            // limit), it is a later one that has to leave.
            let leaves = window.len().checked_sub(most as usize)?;
            window
                .get(leaves)
                .map(|time| Duration::from_millis(time + length - now))
        };
        if counts && let Some(wait) = wait(&self.hour, HOUR_MS, limits.per_hour) {
            let most = limits.per_hour;
            return Err((wait, format!("{most} requests were made within the hour")));
        }
        if let Some(wait) = wait(&self.second, SECOND_MS, limits.per_second) {
            let most = limits.per_second;
            return Err((wait, format!("{most} requests were made within the second")));
        }
        if counts {
            self.hour.push_back(now);
        }
        self.second.push_back(now);
        Ok(())
    }

    /// Lets nobody make a request before `until`.
    pub(super) fn pause(&mut self, until: u64, reason: &str) {
        if until > self.paused_until {
            self.paused_until = until;
            reason.clone_into(&mut self.pause_reason);
        }
    }

    /// Returns how long until the oldest request of the hour is one no more.
    pub(super) fn until_hour_has_room(&self, now: u64) -> Duration {
        let oldest = self.hour.front().copied().unwrap_or(now).min(now);
        Duration::from_millis((oldest + HOUR_MS).saturating_sub(now))
    }

    /// Returns the requests of the last hour.
    pub(super) fn used(&mut self, now: u64) -> usize {
        self.forget(now);
        self.hour.len()
    }

    fn forget(&mut self, now: u64) {
        let keep = |window: &mut VecDeque<u64>, length: u64| {
            // What lies in the future is from before the clock was set back.
            window.retain(|time| *time <= now && now - time < length);
        };
        keep(&mut self.hour, HOUR_MS);
        keep(&mut self.second, SECOND_MS);
        if self.paused_until > now + 24 * HOUR_MS {
            self.paused_until = 0;
        }
    }
}

/// A book in a file that processes share, or in memory.
#[derive(Debug)]
pub(super) struct Ledger {
    path: Option<PathBuf>,
    /// What counts when there is no file, or none that can be used.
    local: Mutex<Book>,
}

impl Ledger {
    /// Creates a ledger over `path`, or in memory. Makes no I/O.
    pub(super) fn new(path: Option<PathBuf>) -> Ledger {
        Ledger {
            path,
            local: Mutex::default(),
        }
    }

    /// Does something with the book that nobody else does meanwhile.
    pub(super) fn with<T>(&self, mut work: impl FnMut(&mut Book, u64) -> T) -> T {
        if let Some(path) = &self.path {
            match with_file(path, &mut work) {
                Ok(done) => return done,
                // The server's own count is still there to stop us.
                Err(error) => log::warn!(
                    "cannot share the quota in `{}`, so only this process counts: {error}",
                    path.display()
                ),
            }
        }
        let mut book = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut book, now_ms())
    }

    /// Returns the requests of the last hour, without making a file.
    pub(super) fn used(&self) -> usize {
        match &self.path {
            Some(path) if !path.exists() => 0,
            _ => self.with(|book, now| book.used(now)),
        }
    }
}

fn with_file<T>(path: &Path, work: &mut impl FnMut(&mut Book, u64) -> T) -> io::Result<T> {
    let mut file = open(path)?;
    // Held for as long as it takes to read and write some 1,000 bytes; the
    // system gives it up for a process that dies.
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let mut book = match serde_json::from_str(&text) {
        Ok(book) => book,
        Err(error) => {
            if !text.is_empty() {
                // A process died while it wrote.
                log::warn!("the quota in `{}` starts anew: {error}", path.display());
            }
            Book::default()
        }
    };
    let done = work(&mut book, now_ms());
    let text = serde_json::to_string(&book)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    Ok(done)
}

/// Opens a file of the state folder, private to the user, and makes it if it
/// is not there.
pub(super) fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn limits(per_second: u32, per_hour: u32) -> Limits {
        Limits {
            per_second,
            per_hour,
            concurrent: 10,
        }
    }

    #[test]
    fn a_burst_is_allowed_up_to_each_limit() {
        let mut book = Book::default();
        let limits = limits(2, 3);
        let mut reserve = |counts, seconds: u64| book.reserve(limits, counts, NOW + seconds * 1000);
        assert!(reserve(true, 0).is_ok());
        assert!(reserve(true, 0).is_ok());
        let (wait, reason) = reserve(true, 0).expect_err("two a second");
        assert_eq!(wait, Duration::from_secs(1));
        assert_eq!(reason, "2 requests were made within the second");
        assert!(reserve(true, 1).is_ok());
        let (wait, _) = reserve(true, 2).expect_err("three an hour");
        assert_eq!(wait, Duration::from_secs(3_598));
        // Pages of a session do not count for the hour.
        assert!(reserve(false, 2).is_ok());
        assert!(reserve(true, 3600).is_ok());
    }

    #[test]
    fn a_pause_holds_for_everybody_until_it_is_over() {
        let mut book = Book::default();
        book.pause(NOW + 5_000, "the server said so");
        book.pause(NOW + 1_000, "something shorter");
        let (wait, reason) = book.reserve(limits(9, 9), false, NOW).expect_err("paused");
        assert_eq!(
            (wait, reason.as_str()),
            (Duration::from_secs(5), "the server said so")
        );
        assert!(book.reserve(limits(9, 9), true, NOW + 5_000).is_ok());
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let mut book = Book::default();
        for _ in 0..3 {
            assert!(book.reserve(limits(9, 3), true, NOW + 90 * HOUR_MS).is_ok());
        }
        book.pause(NOW + 90 * HOUR_MS, "long ago");
        assert!(book.reserve(limits(9, 3), true, NOW).is_ok());
        assert_eq!(book.used(NOW), 1);
    }

    #[test]
    fn two_ledgers_over_one_file_count_together() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("deep/ledger.json");
        let (a, b) = (
            Ledger::new(Some(path.clone())),
            Ledger::new(Some(path.clone())),
        );
        assert_eq!(a.used(), 0);
        assert!(!path.exists());
        let reserve =
            |ledger: &Ledger| ledger.with(|book, now| book.reserve(limits(9, 2), true, now));
        assert!(reserve(&a).is_ok());
        assert!(reserve(&b).is_ok());
        assert!(reserve(&a).is_err());
        assert_eq!(b.used(), 2);
        std::fs::write(&path, "{\"hour\": [17").expect("it can be written");
        assert!(reserve(&a).is_ok());
    }

    #[test]
    fn without_a_place_for_the_file_the_process_counts_alone() {
        let ledger = Ledger::new(Some(PathBuf::from("/dev/null/no")));
        let reserve = || ledger.with(|book, now| book.reserve(limits(9, 1), true, now));
        assert!(reserve().is_ok());
        assert!(reserve().is_err());
    }
}
