//! Runs that write to one place at the same time, and runs that die at any moment:
//! a folder of this machine in the place of a bucket, at which things happen.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use mixflow_core::sink::{CommitSummary, Outcome, PartitionInfo, Sink as _, SinkTxn, WriteMode};
use mixflow_core::source::Extent;
use mixflow_core::unit::Dataset;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_objects::testing::{Call, Fate, Script};
use mixflow_objects::{Location, StoreOptions};

use super::BucketSink;
use crate::going::Replacement;
use crate::made_up::{batch, context, dataset, days, fetched, read};

/// A place that several runs write to.
#[derive(Clone)]
struct Spot {
    folder: Arc<tempfile::TempDir>,
    whole: bool,
}

/// A run of one day's rows.
#[derive(Clone)]
struct OneDay {
    spot: Spot,
    id: &'static str,
    mode: WriteMode,
    day: i64,
    hours: Vec<i64>,
    script: Option<Script>,
}

fn folder() -> Spot {
    Spot {
        folder: Arc::new(tempfile::tempdir().expect("a temp folder")),
        whole: false,
    }
}

fn object() -> Spot {
    Spot {
        whole: true,
        ..folder()
    }
}

fn events() -> Dataset {
    dataset("UTC", None)
}

impl Spot {
    fn path(&self) -> PathBuf {
        let folder = self.folder.path();
        if self.whole {
            folder.join("events.parquet")
        } else {
            folder.to_owned()
        }
    }

    fn run(&self, id: &'static str, mode: WriteMode, day: i64) -> OneDay {
        OneDay {
            spot: self.clone(),
            id,
            mode,
            day,
            hours: vec![day * 24],
            script: None,
        }
    }

    /// Returns the hours that a reader of all files sees, and those that the ledger
    /// speaks of as days.
    fn seen(&self) -> Vec<i64> {
        let mut hours: Vec<i64> = self.files().iter().flat_map(|path| read(path)).collect();
        hours.sort_unstable();
        hours
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("it is there").flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with('_') {
                    continue;
                }
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    files.push(entry.path());
                }
            }
        }
        files
    }

    /// Returns how many days the ledger has.
    fn days(&self) -> usize {
        let sink = self.run("nobody", WriteMode::Append, 1).sink();
        let ledger = sink.ledger(&events()).expect("it can be read");
        ledger.expect("a folder has one").days().count()
    }

    /// Returns what is staged and no longer of use.
    fn staged(&self) -> usize {
        let ours = self.folder.path().join("_mixflow");
        let mut count = 0;
        let mut folders = vec![ours];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else if entry.file_name().to_string_lossy().ends_with(".part") {
                    count += 1;
                }
            }
        }
        count
    }
}

impl OneDay {
    fn with(mut self, decide: impl Fn(&Call) -> Fate + Send + Sync + 'static) -> OneDay {
        self.script = Some(Script::new(decide));
        self
    }

    fn hours(mut self, hours: &[i64]) -> OneDay {
        self.hours = hours.to_vec();
        self
    }

    fn sink(&self) -> BucketSink {
        BucketSink {
            location: Location::Folder(self.spot.path()),
            store: StoreOptions::default(),
            script: self.script.clone(),
            whole: self.spot.whole,
            by_day: (!self.spot.whole).then_some(true),
            compression: Default::default(),
            replacement: Replacement {
                mode: self.mode,
                scope: Default::default(),
                allow_shrink: true,
            },
        }
    }

    fn info(&self) -> PartitionInfo {
        days(self.day, self.day + 1)
    }

    fn write<'s>(&self, sink: &'s BucketSink) -> Result<Box<dyn SinkTxn + 's>> {
        let mut cx = context(self.id);
        cx.source.dataset = events();
        let mut txn = sink.begin(&cx)?;
        txn.partition(&self.info())?;
        txn.write(&batch(&self.hours))?;
        Ok(txn)
    }

    fn commit(&self, txn: Box<dyn SinkTxn + '_>) -> Result<CommitSummary> {
        let Extent::Days(range) = self.info().extent else {
            unreachable!("it is a day");
        };
        let unit = fetched(&events(), self.id, 0, range, &self.hours);
        txn.commit(&Outcome {
            missing: &[],
            rows: self.hours.len() as u64,
            units: &[unit],
        })
    }

    fn done(&self) -> Result<CommitSummary> {
        let sink = self.sink();
        let txn = self.write(&sink)?;
        self.commit(txn)
    }

    /// Runs it while another run is between its rows and its commit.
    #[track_caller]
    fn within(&self, other: &OneDay) -> Result<CommitSummary> {
        let sink = other.sink();
        let txn = other.write(&sink).expect("begins");
        self.done().expect("commits");
        other.commit(txn)
    }

    /// Has another run happen between what this one has found out and what it does.
    fn after(self, other: &OneDay, verb: &'static str, path: &'static str) -> OneDay {
        let other = Mutex::new(Some(other.clone()));
        self.with(move |call| {
            if call.verb == verb
                && call.path.contains(path)
                && let Some(other) = other.lock().expect("no panic").take()
            {
                in_a_thread(move || other.done().map(drop)).expect("commits");
            }
            Fate::Done
        })
    }
}

/// A script runs where no other call can be waited for.
fn in_a_thread<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(call).join().expect("no panic")
}

const LEDGER: &str = "_mixflow/ledger-";

#[track_caller]
fn refused(result: Result<CommitSummary>, kind: ErrorKind, words: &[&str]) -> Error {
    let error = result.expect_err("it is refused");
    assert_eq!(error.kind(), kind);
    let line = error.in_a_line();
    for words in words {
        assert!(line.contains(words), "{line}");
    }
    error
}

#[test]
fn runs_of_other_days_both_count() {
    for mode in [WriteMode::Append, WriteMode::ReplaceWindow] {
        let spot = folder();
        spot.run("a", mode, 1)
            .within(&spot.run("b", mode, 2))
            .expect("commits");
        assert_eq!((spot.seen(), spot.days()), (vec![24, 48], 2));
        // Even if it finds out only when it says what counts.
        let quick = spot.run("c", mode, 3);
        let slow = spot.run("d", mode, 4).after(&quick, "put", LEDGER);
        slow.done().expect("commits");
        assert_eq!((spot.seen(), spot.days()), (vec![24, 48, 72, 96], 4));
        assert_eq!(spot.staged(), 0);
    }
}

#[test]
fn of_runs_of_the_same_days_the_slower_one_is_told_what_was_found() {
    for mode in [WriteMode::Append, WriteMode::ReplaceWindow] {
        let spot = folder();
        let told = ["`_mixflow/ledger-0000000001.json`", "same days: 1970-01-02"];
        let quick = spot.run("a", mode, 1);
        let slow = spot.run("b", mode, 1).hours(&[25]);
        refused(quick.within(&slow), ErrorKind::Destination, &told);
        assert_eq!((spot.seen(), spot.days()), (vec![24], 1));
        let quick = spot.run("c", mode, 2);
        let slow = spot.run("d", mode, 2).after(&quick, "put", LEDGER);
        let error = refused(slow.done(), ErrorKind::Destination, &["ledger-0000000002"]);
        assert!(!error.is_in_doubt());
        assert_eq!((spot.seen(), spot.days()), (vec![24, 48], 2));
        assert_eq!(spot.staged(), 0);
    }
}

#[test]
fn what_another_run_has_committed_is_not_replaced_unseen() {
    let spot = folder();
    let quick = spot.run("a", WriteMode::Create, 1);
    let slow = spot.run("b", WriteMode::Create, 2);
    refused(
        quick.within(&slow),
        ErrorKind::TableExists,
        &["ledger-0000000001"],
    );
    let quick = spot.run("c", WriteMode::Append, 2);
    let slow = spot.run("d", WriteMode::Replace, 3);
    refused(
        quick.within(&slow),
        ErrorKind::Destination,
        &["ledger-0000000002", "unseen"],
    );
    assert_eq!((spot.seen(), spot.days()), (vec![24, 48], 2));
    assert_eq!(spot.staged(), 0);
}

#[test]
fn a_run_that_is_sent_twice_counts_once() {
    let spot = folder();
    let first = spot.run("a", WriteMode::Append, 1);
    first.within(&first).expect("is there");
    assert_eq!(spot.seen(), [24]);
    let again = first
        .clone()
        .after(&spot.run("b", WriteMode::Append, 2), "put", LEDGER);
    again.done().expect("is there");
    assert_eq!(spot.staged(), 0);
    let lone = spot.run("c", WriteMode::Append, 3);
    let twice = lone.clone().after(&lone, "put", LEDGER);
    twice.done().expect("is there");
    assert_eq!((spot.seen(), spot.staged()), (vec![24, 72], 0));
}

#[test]
fn one_that_still_removes_what_it_found_removes_nothing_of_a_later_try() {
    let spot = folder();
    spot.run("a", WriteMode::Create, 1).done().expect("commits");
    let (committed, goes_on) = (mpsc::channel(), mpsc::channel::<()>());
    let (goes_on, waits) = (goes_on.0, Mutex::new(goes_on.1));
    let stopped = AtomicBool::new(false);
    let has_committed = committed.0;
    // It finds what the slower one has put in place, commits, and then takes a rest.
    let quick = spot.run("b", WriteMode::Append, 2).with(move |call| {
        let removes = call.verb == "delete" && call.path.contains("date=");
        if removes && !stopped.swap(true, Ordering::SeqCst) {
            has_committed.send(()).expect("somebody waits");
            waits.lock().expect("no panic").recv().expect("it goes on");
        }
        Fate::Done
    });
    let quick = Mutex::new(Some(quick));
    let waits = Mutex::new(committed.1);
    let running = Arc::new(Mutex::new(None));
    let keeps = Arc::clone(&running);
    let slow = spot.run("c", WriteMode::Append, 3).with(move |call| {
        if call.verb == "put"
            && call.path.contains(LEDGER)
            && let Some(quick) = quick.lock().expect("no panic").take()
        {
            let thread = thread::spawn(move || quick.done().map(drop));
            *keeps.lock().expect("no panic") = Some(thread);
            waits.lock().expect("no panic").recv().expect("it commits");
        }
        Fate::Done
    });
    slow.done().expect("commits");
    goes_on.send(()).expect("it waits");
    let quick = running.lock().expect("no panic").take().expect("it runs");
    quick.join().expect("no panic").expect("commits");
    assert_eq!((spot.seen(), spot.days()), (vec![24, 48, 72], 3));
}

#[test]
fn an_answer_that_gets_lost_makes_no_second_commit() {
    let spot = folder();
    let run = spot.run("a", WriteMode::Append, 1).with(|call| {
        let commits = call.verb == "put" && call.path.contains(LEDGER);
        if commits { Fate::Lost } else { Fate::Done }
    });
    run.done().expect("it is there");
    assert_eq!((spot.seen(), spot.days(), spot.staged()), (vec![24], 1, 0));
}

#[test]
fn what_may_have_been_committed_is_kept_until_it_is_known() {
    let spot = folder();
    let run = spot.run("a", WriteMode::Append, 1).with(|call| {
        let commits = call.verb == "put" && call.path.contains(LEDGER);
        if commits { Fate::Failed } else { Fate::Done }
    });
    let error = run.done().expect_err("nobody knows");
    assert!(error.is_in_doubt());
    // It is known as a run's that died: another one takes it out.
    assert_eq!((spot.seen(), spot.days(), spot.staged()), (vec![24], 0, 1));
    let again = spot.run("b", WriteMode::Append, 1);
    again.done().expect("commits");
    assert_eq!((spot.seen(), spot.days()), (vec![24], 1));
}

/// A run for which everything fails from its `nth` call on; whether that one is done.
fn dying(run: OneDay, nth: usize, fate: Fate) -> (OneDay, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let run = run.with(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        n if n < nth => Fate::Done,
        n if n == nth => fate,
        _ => Fate::Failed,
    });
    (run, calls)
}

/// Has a run die at each of its calls, and `check` what becomes of its place.
fn at_each_call(run: impl Fn(&Spot) -> OneDay, check: impl Fn(&Spot, &str)) {
    let mut died = 0;
    for fate in [Fate::Failed, Fate::Lost] {
        for nth in 0.. {
            let spot = folder();
            let before = spot.run("before", WriteMode::Create, 1);
            before.hours(&[24, 25]).done().expect("commits");
            let (run, calls) = dying(run(&spot), nth, fate);
            let done = run.done();
            if calls.load(Ordering::SeqCst) <= nth {
                done.expect("nothing has happened to it");
                break;
            }
            died += 1;
            check(&spot, &format!("{fate:?} at {nth}"));
        }
    }
    assert!(died > 20, "{died}");
}

#[test]
fn days_that_are_replaced_are_there_once_wherever_a_run_dies() {
    let run = |spot: &Spot| {
        spot.run("dies", WriteMode::ReplaceWindow, 1)
            .hours(&[26, 27])
    };
    at_each_call(run, |spot, at| {
        // The next run, of another day, leaves nothing of it that does not count.
        let next = spot.run("next", WriteMode::Append, 2);
        next.done().expect("commits");
        let seen = spot.seen();
        assert!(
            seen == [24, 25, 48] || seen == [26, 27, 48],
            "{at}: {seen:?}"
        );
        let again = spot.run("again", WriteMode::ReplaceWindow, 1);
        again.hours(&[28]).done().expect("commits");
        assert_eq!((spot.seen(), spot.days()), (vec![28, 48], 2), "{at}");
    });
}

#[test]
fn days_that_are_added_are_there_once_wherever_a_run_dies() {
    let run = |spot: &Spot| spot.run("dies", WriteMode::Append, 2);
    at_each_call(run, |spot, at| {
        if spot.days() == 1 {
            let again = spot.run("again", WriteMode::Append, 2);
            again.done().expect("commits");
        } else {
            let next = spot.run("next", WriteMode::Append, 3);
            next.hours(&[]).done().expect("commits");
        }
        assert_eq!(spot.seen(), [24, 25, 48], "{at}");
    });
}

#[test]
fn of_two_runs_that_create_an_object_one_is_told() {
    let spot = object();
    let quick = spot.run("a", WriteMode::Create, 1);
    let slow = spot.run("b", WriteMode::Create, 2);
    refused(
        quick.within(&slow),
        ErrorKind::TableExists,
        &["events.parquet"],
    );
    assert_eq!((spot.seen(), spot.staged()), (vec![24], 0));
    let spot = object();
    let quick = spot.run("a", WriteMode::Create, 1);
    let slow = spot.run("b", WriteMode::Create, 2);
    let slow = slow.after(&quick, "copy", "events.parquet");
    let error = refused(slow.done(), ErrorKind::TableExists, &["another run"]);
    assert!(!error.is_in_doubt());
    assert_eq!((spot.seen(), spot.staged()), (vec![24], 0));
}

#[test]
fn an_object_is_created_though_the_answer_gets_lost() {
    let spot = object();
    let path = spot.path().to_string_lossy().into_owned();
    let is_object = move |call: &Call| Path::new("/").join(&call.path) == Path::new(&path);
    let run = spot.run("a", WriteMode::Create, 1).with(move |call| {
        let copies = call.verb == "copy" && is_object(call);
        if copies { Fate::Lost } else { Fate::Done }
    });
    run.done().expect("it is there");
    assert_eq!((spot.seen(), spot.staged()), (vec![24], 0));
}
