//! Runs into a folder of objects, in a folder of this machine in the place of a bucket.

use std::fs;
use std::time::{Duration, SystemTime};

use mixflow_core::sink::{Outcome, Sink as _, WriteMode};
use mixflow_objects::{Location, StoreOptions};

use super::BucketSink;
use crate::going::Replacement;
use crate::made_up::{batch, context, days};
use crate::tree::{Found, list};

struct Spot {
    folder: tempfile::TempDir,
}

impl Spot {
    fn sink(&self, mode: WriteMode) -> BucketSink {
        BucketSink {
            location: Location::Folder(self.folder.path().to_owned()),
            store: StoreOptions::default(),
            script: None,
            whole: false,
            by_day: Some(true),
            compression: Default::default(),
            replacement: Replacement {
                mode,
                scope: Default::default(),
                allow_shrink: false,
            },
        }
    }

    fn run(&self, id: &str, mode: WriteMode, first: i64, hours: &[i64]) {
        let sink = self.sink(mode);
        let mut txn = sink.begin(&context(id)).expect("begins");
        txn.partition(&days(first, first + 1))
            .expect("is announced");
        txn.write(&batch(hours)).expect("writes");
        let outcome = Outcome {
            missing: &[],
            rows: hours.len() as u64,
            units: &[],
        };
        txn.commit(&outcome).expect("commits");
    }

    /// Returns the files that a reader of all sees.
    fn tables(&self) -> Vec<String> {
        let days = fs::read_dir(self.folder.path())
            .expect("it is there")
            .flatten();
        let days = days.filter(|day| day.file_name().to_string_lossy().starts_with("date="));
        let files = days.flat_map(|day| fs::read_dir(day.path()).expect("it is there").flatten());
        let mut names: Vec<String> = files
            .map(|file| {
                file.path()
                    .strip_prefix(self.folder.path())
                    .expect("below")
                    .display()
                    .to_string()
            })
            .collect();
        names.sort();
        names
    }
}

fn spot() -> Spot {
    Spot {
        folder: tempfile::tempdir().expect("a temp folder"),
    }
}

#[test]
fn what_a_run_that_died_in_its_commit_put_in_place_goes_with_the_next() {
    let spot = spot();
    spot.run("20240101T000000Z-00000001", WriteMode::Create, 1, &[24]);
    let one = spot.tables();
    // It had copied a file, and the ledger does not name it.
    let name = "part-20240102T000000Z-00000002-0000000a-0";
    let stage = spot
        .folder
        .path()
        .join("_mixflow/20240102T000000Z-00000002-0000000a");
    fs::create_dir_all(&stage).expect("a temp folder");
    fs::write(stage.join(format!("{name}.part")), "x").expect("a temp folder");
    let orphan = spot
        .folder
        .path()
        .join("date=1970-01-02")
        .join(format!("{name}.parquet"));
    fs::write(&orphan, "x").expect("a temp folder");
    // One that somebody else has put there is none of ours.
    let theirs = "date=1970-01-02/part-20240102T000000Z-00000003-0000000b-0.parquet";
    fs::copy(
        spot.folder.path().join(&one[0]),
        spot.folder.path().join(theirs),
    )
    .expect("a copy");
    spot.run("20240103T000000Z-00000004", WriteMode::Append, 2, &[48]);
    let left = spot.tables();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(
        !orphan.exists() && left.iter().any(|name| name == theirs),
        "{left:?}"
    );
}

#[test]
fn a_folder_that_was_copied_from_a_machine_goes_on_in_a_bucket() {
    let place = crate::made_up::Place::new();
    place.run("a", WriteMode::Create, &days(1, 3), &[24, 50]);
    let spot = Spot {
        folder: place.folder,
    };
    let root = spot.folder.path().join("out");
    let found: Vec<Found> = list(&root).expect("it is a folder");
    for file in &found {
        let to = spot.folder.path().join(&file.path);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a temp folder");
        fs::rename(root.join(&file.path), to).expect("a temp folder");
    }
    fs::remove_dir_all(&root).expect("it is empty");
    spot.run(
        "20240101T000000Z-00000002",
        WriteMode::ReplaceWindow,
        1,
        &[25],
    );
    let left = spot.tables();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(
        spot.folder
            .path()
            .join("_mixflow/ledger-0000000001.json")
            .exists()
    );
}

#[test]
fn what_a_run_has_staged_is_old_when_the_last_of_it_is() {
    let spot = spot();
    spot.run("20240101T000000Z-00000001", WriteMode::Create, 1, &[24]);
    let two_days_ago = SystemTime::now() - Duration::from_secs(48 * 3_600);
    let staged = |run: &str, name: &str, when: Option<SystemTime>| {
        let folder = spot.folder.path().join("_mixflow").join(run);
        fs::create_dir_all(&folder).expect("a temp folder");
        let file = fs::File::create(folder.join(name)).expect("a temp folder");
        if let Some(when) = when {
            file.set_modified(when).expect("a temp folder");
        }
        folder.join(name)
    };
    let dead = [
        staged("dead", "part-dead-0.part", Some(two_days_ago)),
        staged("dead", "part-dead-1.part", Some(two_days_ago)),
        staged("", "events.parquet.dead.part", Some(two_days_ago)),
    ];
    let alive = [
        staged("alive", "part-alive-0.part", Some(two_days_ago)),
        staged("alive", "part-alive-1.part", None),
        staged("", "events.parquet.alive.part", None),
    ];
    let removed = spot
        .sink(WriteMode::Append)
        .vacuum()
        .expect("it is removed");
    assert_eq!(removed.files, 3);
    assert!(dead.iter().all(|path| !path.exists()));
    assert!(alive.iter().all(|path| path.exists()));
}
