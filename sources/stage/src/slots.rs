//! What a server allows in an hour, shared by machines.

use std::collections::BTreeMap;
use std::time::Duration;

use mixflow_core::clock;
use mixflow_core::error::Result;
use mixflow_core::slots::{RequestSlots, Taken};
use mixflow_objects::{Created, Objects};

const HOUR_MS: i64 = 3_600_000;

/// What clocks may differ by, and a request takes until the server counts it.
const MARGIN_MS: i64 = 2_000;

/// Slots for requests as objects: `quota/ENDPOINT/HOUR/N`, each made by who makes
/// the request, and by nobody else.
///
/// The server counts the hour that slides, not the one of the clock. So slot N of
/// an hour is not to be had before an hour has passed since slot N of the hour
/// before was taken: then no hour, wherever it begins, has more requests than there
/// are slots. No machine remembers anything, so one that dies takes nothing along.
#[derive(Clone, Debug)]
pub struct StageSlots {
    objects: Objects,
}

impl StageSlots {
    pub(crate) fn new(objects: Objects) -> StageSlots {
        StageSlots { objects }
    }

    /// Returns when each slot of an hour was taken, by the service's clock.
    fn taken(&self, endpoint: &str, hour: i64) -> Result<BTreeMap<u32, i64>> {
        let found = self.objects.list(&hour_name(endpoint, hour))?;
        let slots = found.into_iter().filter_map(|found| {
            let (_, number) = found.name.rsplit_once('/')?;
            Some((number.parse().ok()?, found.written_ms))
        });
        Ok(slots.collect())
    }

    /// Removes what no hour that still counts has.
    fn tidy(&self, endpoint: &str, hour: i64) {
        let Ok(all) = self.objects.list(&format!("quota/{endpoint}")) else {
            return;
        };
        for found in all {
            let mut parts = found.name.rsplit('/').skip(1);
            let old: Option<i64> = parts.next().and_then(|part| part.parse().ok());
            if old.is_some_and(|old| old < hour - 1) {
                // Somebody else may be at it, too.
                let _ = self.objects.delete(&found.name);
            }
        }
    }
}

/// When slots were taken, in the hour of the clock and the one before.
#[derive(Debug, Default)]
struct Hours {
    before: BTreeMap<u32, i64>,
    this: BTreeMap<u32, i64>,
}

impl Hours {
    /// Returns when slot `n` may be taken; nothing if that is not before the hour of
    /// the clock is over.
    fn free_at(&self, n: u32) -> Result<i64, i64> {
        match (self.this.get(&n), self.before.get(&n)) {
            // In the next hour, then.
            (Some(taken), _) => Err(taken + HOUR_MS + MARGIN_MS),
            (None, Some(taken)) => Ok(taken + HOUR_MS + MARGIN_MS),
            (None, None) => Ok(0),
        }
    }

    /// Returns the slots that may be taken now, from `begin` on and then from the
    /// first, or when the first one may be.
    fn choose(&self, per_hour: u32, begin: u32, now: i64) -> Result<Vec<u32>, i64> {
        let all = || (begin..per_hour).chain(0..begin);
        let free = |n: &u32| self.free_at(*n).is_ok_and(|at| at <= now);
        let free: Vec<u32> = all().filter(free).collect();
        if !free.is_empty() {
            return Ok(free);
        }
        let times = all().map(|n| self.free_at(n).unwrap_or_else(|later| later));
        Err(times.min().unwrap_or(now + HOUR_MS))
    }
}

impl RequestSlots for StageSlots {
    fn take(&self, endpoint: &str, per_hour: u32) -> Result<Taken> {
        let now = now_ms();
        let hour = now.div_euclid(HOUR_MS);
        let mut hours = Hours {
            before: self.taken(endpoint, hour - 1)?,
            this: self.taken(endpoint, hour)?,
        };
        // Where each machine begins elsewhere, two seldom want the same one.
        let begin = fastrand::u32(..per_hour.max(1));
        loop {
            let free = match hours.choose(per_hour, begin, now) {
                Ok(free) => free,
                Err(at) => {
                    let wait = at.saturating_sub(now).max(MARGIN_MS).unsigned_abs();
                    return Ok(Taken::None(Duration::from_millis(wait)));
                }
            };
            for n in free {
                let name = format!("{}/{n}", hour_name(endpoint, hour));
                let word = format!("process {}\n", std::process::id());
                if self.objects.create(&name, word)? == Created::New {
                    if hours.this.is_empty() {
                        self.tidy(endpoint, hour);
                    }
                    return Ok(Taken::Slot(name));
                }
                // Another machine was faster.
                hours.this.insert(n, now);
            }
        }
    }

    fn give_back(&self, slot: &str) {
        if let Err(error) = self.objects.delete(slot) {
            log::info!("{}", error.in_a_line());
        }
    }
}

fn hour_name(endpoint: &str, hour: i64) -> String {
    format!("quota/{endpoint}/{hour}")
}

fn now_ms() -> i64 {
    clock::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::time::SystemTime;

    use mixflow_objects::{Location, StoreOptions};
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    proptest! {
        /// However machines come, no hour that begins anywhere has more requests than
        /// there are slots; and who waits as long as is said gets one.
        #[test]
        fn no_hour_has_more_requests_than_slots(
            per_hour in 1_u32..6,
            pauses in prop::collection::vec((0..40_i64, any::<u32>()), 1..120),
        ) {
            let mut taken: BTreeMap<(i64, u32), i64> = BTreeMap::new();
            let mut now = NOW;
            for (minutes, begin) in pauses {
                now += minutes * 60_000 + 1;
                loop {
                    let hour = now / HOUR_MS;
                    let of = |hour: i64| {
                        let slots = taken.range((hour, 0)..(hour + 1, 0));
                        slots.map(|((_, n), at)| (*n, *at)).collect()
                    };
                    let hours = Hours { before: of(hour - 1), this: of(hour) };
                    match hours.choose(per_hour, begin % per_hour, now) {
                        Ok(free) => {
                            taken.insert((hour, free[0]), now);
                            break;
                        }
                        Err(at) => {
                            prop_assert!(at > now && at <= now + HOUR_MS + MARGIN_MS);
                            now = at;
                        }
                    }
                }
            }
            let mut times: Vec<i64> = taken.into_values().collect();
            times.sort_unstable();
            let most = per_hour as usize;
            for window in times.windows(most + 1) {
                prop_assert!(window[most] - window[0] >= HOUR_MS, "{window:?}");
            }
        }
    }

    fn slots() -> (tempfile::TempDir, StageSlots) {
        let folder = tempfile::tempdir().expect("a temp folder");
        let location = Location::Folder(folder.path().to_owned());
        let objects = location.open(&StoreOptions::default()).expect("it opens");
        (folder, StageSlots::new(objects))
    }

    #[test]
    fn a_slot_is_had_once_and_may_be_given_back() {
        let (_folder, slots) = slots();
        let take = || slots.take("export-1", 2).expect("the folder answers");
        let (Taken::Slot(one), Taken::Slot(other)) = (take(), take()) else {
            panic!("there are two");
        };
        assert_ne!(one, other);
        let Taken::None(wait) = take() else {
            panic!("there are only two");
        };
        assert!(wait > Duration::from_secs(3_590), "{wait:?}");
        // Another endpoint has slots of its own.
        assert!(matches!(slots.take("export-2", 2), Ok(Taken::Slot(_))));
        slots.give_back(&one);
        assert!(matches!(take(), Taken::Slot(_)));
        assert!(matches!(take(), Taken::None(_)));
    }

    #[test]
    fn a_slot_of_the_hour_before_counts_until_an_hour_has_passed() {
        let (folder, slots) = slots();
        let hour = now_ms().div_euclid(HOUR_MS);
        let before = folder.path().join(format!("quota/e/{}", hour - 1));
        let older = folder.path().join(format!("quota/e/{}", hour - 3));
        for folder in [&before, &older] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        File::create(older.join("0")).expect("a file");
        let file = File::create(before.join("0")).expect("a file");
        let written = |ago: u64| {
            let when = SystemTime::now() - Duration::from_secs(ago);
            let times = FileTimes::new().set_modified(when);
            file.set_times(times).expect("a time");
        };
        written(3_500);
        let Ok(Taken::None(wait)) = slots.take("e", 1) else {
            panic!("the hour has not passed");
        };
        assert!((98..=103).contains(&wait.as_secs()), "{wait:?}");
        written(3_610);
        assert!(matches!(slots.take("e", 1), Ok(Taken::Slot(_))));
        // What counts no more is removed meanwhile.
        assert!(before.exists() && !older.join("0").exists());
    }
}
