//! The time that it is.
//!
//! Everything that decides by the time of day, or writes it down, asks here, so
//! that a process can be made to live at another time: a year of daily runs is
//! then a test of minutes. Waits go by the system's own clock.

use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};

/// How far this process is ahead of the system's clock.
static AHEAD: OnceLock<SignedDuration> = OnceLock::new();

/// Returns the time that it is.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    AHEAD.get().map_or(now, |ahead| {
        now.saturating_add(*ahead)
            .expect("a duration is no calendar unit")
    })
}

/// Makes it be `time` now, for the whole process. From there it goes on as
/// clocks do. Has no effect when it has been called before.
pub fn set(time: Timestamp) {
    let _ = AHEAD.set(time.duration_since(Timestamp::now()));
}
