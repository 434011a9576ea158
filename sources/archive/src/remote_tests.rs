//! An archive in a bucket: the same promises, whenever a run dies.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::date;
use mixflow_core::cancel::CancelToken;
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::source::{Listed, Remote};
use mixflow_core::unit::{DataKind, Dataset, DayRange, Extent, Unit};
use serde_json::json;

use crate::{Archive, Content, Facts, Hash, NewBody};

const BODY: &[u8] = b"{\"event\":\"a\"}\n{\"event\":\"b\"}\n";

/// A bucket in memory, which nobody reaches any more after so many calls.
#[derive(Debug, Default)]
struct MadeUp {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    left: Option<usize>,
}

impl MadeUp {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Lets so many more calls through.
    fn dies_after(&self, calls: Option<usize>) {
        self.state().left = calls;
    }

    fn names(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    fn call(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        match &mut state.left {
            Some(0) => return Err(Error::new(ErrorKind::Network, "nobody answers")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }
}

impl Remote for MadeUp {
    fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let state = self.call()?;
        let names = state.objects.keys().filter(|name| name.starts_with(folder));
        let listed = names.map(|name| Listed {
            name: name.clone(),
            written_ms: 0,
        });
        Ok(listed.collect())
    }

    fn read(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        let state = self.call()?;
        let read = names.iter().map(|name| state.objects.get(name).cloned());
        Ok(read.collect())
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let mut state = self.call()?;
        if state.objects.contains_key(name) {
            return Ok(false);
        }
        state.objects.insert(name.to_owned(), bytes.to_vec());
        Ok(true)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.call()?.objects.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn upload(&self, name: &str, from: &mut dyn Read) -> Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(|error| {
            Error::new(ErrorKind::Io, "cannot read what it is to be").with_source(error)
        })?;
        self.call()?.objects.insert(name.to_owned(), bytes);
        Ok(())
    }

    fn download(&self, name: &str, to: &mut File) -> Result<bool> {
        let bytes = self.call()?.objects.get(name).cloned();
        if let Some(bytes) = &bytes {
            to.write_all(bytes).expect("a temp file");
        }
        Ok(bytes.is_some())
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.call()?.objects.remove(name);
        Ok(())
    }
}

fn archive() -> (Arc<MadeUp>, Archive) {
    let bucket = Arc::new(MadeUp::default());
    let archive = Archive::in_bucket("s3://lake/archive", Arc::clone(&bucket) as _);
    (bucket, archive)
}

fn dataset() -> Dataset {
    Dataset {
        project: "12345".to_owned(),
        kind: DataKind::Events,
        zone: "UTC".to_owned(),
        ..Dataset::default()
    }
}

fn facts(bytes: &[u8]) -> Facts {
    Facts {
        bytes: bytes.len() as u64,
        sha256: Hash::of(bytes),
    }
}

/// Keeps a body of a day of January, which came without compression.
fn keep(archive: &Archive, day: i8, body: &[u8]) -> Result<PathBuf> {
    keep_as(archive, day, body, Content::Plain(&mut &body[..]))
}

fn keep_as(archive: &Archive, day: i8, body: &[u8], content: Content<'_>) -> Result<PathBuf> {
    let (dataset, day) = (dataset(), date(2024, 1, day));
    let extent = Extent::Days(DayRange {
        first: day,
        last: day,
        start_us: 0,
        end_us: 0,
    });
    let unit = Unit::new(
        &dataset.key(),
        extent,
        day.to_string(),
        json!({ "day": day }),
    );
    let new = NewBody {
        dataset: &dataset,
        unit: &unit,
        fetched_at: Timestamp::UNIX_EPOCH,
        body: facts(body),
        wire: facts(body),
        reading: json!(null),
    };
    archive.keep(&new, content)
}

/// Returns what the bodies say that are whole, by day.
fn bodies(archive: &Archive) -> Vec<(i8, Vec<u8>)> {
    let kept = archive.list().expect("it answers").into_iter();
    let bodies = kept.map(|kept| {
        let file = kept.open(&CancelToken::never()).expect("it is whole");
        let mut body = Vec::new();
        let mut reader = MultiGzDecoder::new(file);
        reader.read_to_end(&mut body).expect("it is gzip");
        (kept.day.day(), body)
    });
    bodies.collect()
}

fn differences(archive: &Archive) -> Vec<&'static str> {
    let verdict = archive.verify(&CancelToken::never()).expect("it answers");
    verdict
        .differences
        .iter()
        .map(|differs| differs.what)
        .collect()
}

#[test]
fn a_body_is_an_object_with_its_note_beside_it() {
    let (bucket, archive) = archive();
    assert!(!archive.is_there().expect("it answers"));
    archive.prepare(&dataset()).expect("it can be written");
    assert_eq!(bucket.names(), [""; 0]);
    let path = keep(&archive, 1, BODY).expect("it is kept");
    assert!(path.to_str().is_some_and(|path| {
        path.starts_with("s3://lake/archive/12345/events/2024-01-01/")
            && path.ends_with("Z.jsonl.gz")
    }));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(BODY).expect("memory");
    let packed = encoder.finish().expect("memory");
    let content = Content::Gzip {
        reader: &mut &packed[..],
        facts: facts(&packed),
        file: None,
    };
    keep_as(&archive, 2, BODY, content).expect("it is kept");
    assert_eq!(bodies(&archive), [(1, BODY.to_vec()), (2, BODY.to_vec())]);
    // As it came.
    assert!(
        bucket
            .state()
            .objects
            .values()
            .any(|bytes| *bytes == packed)
    );
    assert_eq!(bucket.names().len(), 4);
    assert!(archive.is_there().expect("it answers"));
    assert_eq!(differences(&archive), [""; 0]);
    // Kept once more it is the same; another one has another name.
    keep(&archive, 1, BODY).expect("it is there");
    assert_eq!(bucket.names().len(), 4);
    keep(&archive, 1, b"{}\n").expect("it is kept");
    assert_eq!(bucket.names().len(), 6);
}

#[test]
fn a_run_that_dies_at_any_call_has_kept_a_body_or_has_not() {
    let mut outcomes = Vec::new();
    for calls in 0.. {
        let (bucket, archive) = archive();
        keep(&archive, 1, BODY).expect("nobody dies");
        bucket.dies_after(Some(calls));
        let kept = keep(&archive, 2, b"{}\n");
        bucket.dies_after(None);
        if let Err(error) = &kept {
            assert!(error.is_fatal(), "{error}");
            assert!(error.in_a_line().contains("2024-01-02"), "{error}");
        }
        assert_eq!(differences(&archive), [""; 0], "{calls} calls");
        let there = bodies(&archive);
        assert!(there.contains(&(1, BODY.to_vec())));
        assert!(kept.is_err() || there.len() == 2);
        outcomes.push((kept.is_ok(), there.len()));
        // Whoever comes next keeps it all the same, and it is what counts.
        keep(&archive, 2, b"{}\n").expect("nobody dies");
        assert_eq!(differences(&archive), [""; 0], "{calls} calls");
        assert!(bodies(&archive).contains(&(2, b"{}\n".to_vec())));
        if calls > 20 {
            break;
        }
    }
    assert!(outcomes.contains(&(false, 1)) && outcomes.contains(&(true, 2)));
}

#[test]
fn bytes_that_are_not_what_came_do_not_appear() {
    let (bucket, archive) = archive();
    let content = Content::Gzip {
        reader: &mut &b"other bytes"[..],
        facts: facts(b"the bytes that came"),
        file: None,
    };
    let error = keep_as(&archive, 1, BODY, content).expect_err("refused");
    assert!(
        error.is_fatal() && error.in_a_line().contains("damaged"),
        "{error}"
    );
    assert_eq!(bucket.names(), [""; 0]);
    keep_as(&archive, 1, BODY, Content::Plain(&mut &b"{}"[..])).expect_err("refused");
    assert_eq!(bucket.names(), [""; 0]);
}

#[test]
fn what_differs_is_found() {
    let (bucket, archive) = archive();
    for day in 1..=3 {
        keep(&archive, day, BODY).expect("it is kept");
    }
    let body_of = |day: &str| {
        let mut names = bucket.names();
        names.retain(|name| name.contains(day) && name.ends_with(".gz"));
        names.remove(0)
    };
    // Asked first: whoever has the state has it alone.
    let (damaged, gone) = (body_of("-01/"), body_of("-02/"));
    let mut state = bucket.state();
    state
        .objects
        .entry(damaged)
        .and_modify(|bytes| bytes[12] ^= 1);
    state.objects.remove(&gone);
    let unknown = "12345/events/notes.txt".to_owned();
    state.objects.insert(unknown, Vec::new());
    drop(state);
    assert_eq!(differences(&archive), ["damaged", "gone", "unknown"]);
}

#[test]
fn what_was_refused_is_noted() {
    let (_, archive) = archive();
    let path = keep(&archive, 1, BODY).expect("it is kept");
    keep(&archive, 2, BODY).expect("it is kept");
    archive.refuse(&path).expect("it is noted");
    let kept = archive.kept(&dataset()).expect("it answers");
    let refused: Vec<_> = kept
        .iter()
        .map(|kept| (kept.day.day(), kept.is_refused()))
        .collect();
    assert_eq!(refused, [(1, true), (2, false)]);
    assert_eq!(differences(&archive), [""; 0]);
}

#[test]
fn a_prune_that_dies_leaves_each_body_whole_or_gone() {
    for calls in 0..14 {
        let (bucket, archive) = archive();
        for day in 1..=3 {
            keep(&archive, day, BODY).expect("it is kept");
        }
        bucket.dies_after(Some(calls));
        let pruned = archive.prune(&dataset(), date(2024, 1, 3));
        bucket.dies_after(None);
        assert_eq!(differences(&archive), [""; 0], "{calls} calls");
        assert!(pruned.is_err() || bodies(&archive).len() == 1);
        archive
            .prune(&dataset(), date(2024, 1, 3))
            .expect("nobody dies");
        assert_eq!(bodies(&archive), [(3, BODY.to_vec())]);
        // What is staged is swept when it is old, as everything is here.
        assert_eq!(bucket.names().len(), 2, "{:?}", bucket.names());
    }
}
