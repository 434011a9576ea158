//! What is kept is there, whole, under its name, and nothing else is.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::{Date, date};
use mixflow_core::cancel::CancelToken;
use mixflow_core::unit::{DataKind, Dataset, DayRange, Extent, Unit};
use serde_json::json;
use tempfile::TempDir;

use crate::{Archive, Content, Facts, Hash, NewBody};

const BODY: &[u8] = b"{\"event\":\"a\"}\n{\"event\":\"b\"}\n";

struct Place {
    folder: TempDir,
    archive: Archive,
}

fn place() -> Place {
    let folder = tempfile::tempdir().expect("a temp folder");
    let archive = Archive::at(folder.path().join("archive"));
    Place { folder, archive }
}

fn facts(bytes: &[u8]) -> Facts {
    Facts {
        bytes: bytes.len() as u64,
        sha256: Hash::of(bytes),
    }
}

fn dataset(filter: &str) -> Dataset {
    let filters = json!({ "where": filter });
    Dataset {
        project: "12345".to_owned(),
        kind: DataKind::Events,
        zone: "UTC".to_owned(),
        filters: filters.as_object().expect("an object").clone(),
    }
}

fn days(dataset: &Dataset, first: Date, last: Date) -> Unit {
    let extent = Extent::Days(DayRange {
        first,
        last,
        start_us: 0,
        end_us: 0,
    });
    let request = json!({ "from_date": first, "to_date": last });
    Unit::new(&dataset.key(), extent, first.to_string(), request)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

impl Place {
    /// Keeps a body of one day of January, fetched so many seconds after 1970.
    fn keep(&self, day: i8, seconds: i64, content: Content<'_>, body: &[u8]) {
        let dataset = dataset("x");
        let unit = days(&dataset, date(2024, 1, day), date(2024, 1, day));
        let new = NewBody {
            dataset: &dataset,
            unit: &unit,
            fetched_at: Timestamp::from_second(seconds).expect("a time"),
            body: facts(body),
            wire: facts(body),
            reading: json!(null),
        };
        self.archive.keep(&new, content).expect("there is room");
    }

    fn keep_plain(&self, day: i8, seconds: i64, body: &[u8]) {
        self.keep(day, seconds, Content::Plain(&mut &body[..]), body);
    }

    /// All files, by their paths in the archive.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.archive.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => files.push(path),
                }
            }
        }
        files.sort();
        files
    }

    fn bodies(&self) -> Vec<PathBuf> {
        let mut files = self.files();
        files.retain(|path| path.extension().is_some_and(|end| end == "gz"));
        files
    }

    /// What verifying finds: the ends of the names, and what they are.
    fn differences(&self) -> Vec<&'static str> {
        let verdict = self.archive.verify(&CancelToken::never());
        let found = verdict.expect("it can be read").differences;
        found.iter().map(|difference| difference.what).collect()
    }
}

fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).expect("it is there");
    let read = MultiGzDecoder::new(file).read_to_end(&mut bytes);
    read.expect("it is gzip");
    bytes
}

#[test]
fn a_body_is_a_file_that_anything_reads_in_the_folder_of_its_day() {
    let place = place();
    place.keep_plain(3, 0, BODY);
    let packed = gzip(BODY);
    let came = Content::Gzip {
        reader: &mut &packed[..],
        facts: facts(&packed),
        file: None,
    };
    place.keep(4, 1, came, BODY);
    let dataset = dataset("x");
    let kept = place.archive.kept(&dataset).expect("it can be read");
    for (kept, day) in kept.iter().zip([3, 4]) {
        let unit = days(&dataset, date(2024, 1, day), date(2024, 1, day));
        let name = format!(
            "12345/events/2024-01-0{day}/{}-19700101T00000{}.000Z.jsonl.gz",
            unit.key,
            day - 3
        );
        assert_eq!(kept.path, place.archive.path().join(name));
        assert_eq!(unpacked(&kept.path), BODY);
        let note = kept.note.as_ref().expect("it was written");
        assert_eq!((&note.unit, &note.body), (&unit, &facts(BODY)));
        assert_eq!(note.dataset, dataset);
    }
    // As it came.
    assert_eq!(fs::read(&kept[1].path).expect("it is there"), packed);
    assert_eq!(place.files().len(), 4);
    assert_eq!(place.differences(), Vec::<&str>::new());
}

#[cfg(unix)]
#[test]
fn all_of_it_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = place();
    place.keep_plain(3, 0, BODY);
    let mode = |path: &Path| {
        let about = fs::metadata(path).expect("it is there");
        about.permissions().mode() & 0o777
    };
    for path in place.files() {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        for folder in path.ancestors().skip(1).take(4) {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
    }
}

#[cfg(unix)]
#[test]
fn what_is_there_takes_no_more_room() {
    use std::os::unix::fs::MetadataExt as _;
    let place = place();
    let packed = gzip(BODY);
    let spooled = place.folder.path().join("spooled");
    fs::write(&spooled, &packed).expect("there is room");
    let inode = |path: &Path| fs::metadata(path).expect("it is there").ino();
    for seconds in [0, 0, 5] {
        let came = Content::Gzip {
            reader: &mut &b"is not read"[..],
            facts: facts(&packed),
            file: Some(&spooled),
        };
        place.keep(3, seconds, came, BODY);
    }
    // The same body once more, packed in another way.
    place.keep_plain(3, 7, BODY);
    let bodies = place.bodies();
    assert_eq!(bodies.len(), 3, "{bodies:?}");
    for body in &bodies {
        assert_eq!(inode(body), inode(&spooled));
    }
    assert_eq!(place.differences(), Vec::<&str>::new());

    // What is damaged is not taken for the body.
    fs::write(&bodies[2], b"another").expect("there is room");
    place.keep_plain(3, 9, BODY);
    let bodies = place.bodies();
    assert_ne!(inode(&bodies[3]), inode(&spooled));
    assert_eq!(unpacked(&bodies[3]), BODY);
    // They share the damage as well.
    assert_eq!(place.differences(), ["damaged"; 3]);
}

#[test]
fn two_bodies_of_one_moment_are_both_kept() {
    let place = place();
    place.keep_plain(3, 0, BODY);
    place.keep_plain(3, 0, b"{}\n");
    let bodies = place.bodies();
    assert_eq!(bodies.len(), 2);
    let kept = place.archive.kept(&dataset("x")).expect("it can be read");
    let newest = kept.last().expect("there are two");
    assert_eq!(unpacked(&newest.path), b"{}\n");
}

#[test]
fn bytes_that_are_not_what_came_are_not_kept() {
    let place = place();
    let dataset = dataset("x");
    let unit = days(&dataset, date(2024, 1, 3), date(2024, 1, 3));
    let new = NewBody {
        dataset: &dataset,
        unit: &unit,
        fetched_at: Timestamp::UNIX_EPOCH,
        body: facts(BODY),
        wire: facts(BODY),
        reading: json!(null),
    };
    let packed = gzip(BODY);
    let mut damaged = packed.clone();
    damaged[12] ^= 1;
    for content in [
        Content::Plain(&mut &b"{}\n"[..]),
        Content::Gzip {
            reader: &mut &damaged[..],
            facts: facts(&packed),
            file: None,
        },
    ] {
        let error = place.archive.keep(&new, content).expect_err("refused");
        assert!(error.is_fatal());
        assert_eq!(place.files(), Vec::<PathBuf>::new());
    }
}

#[test]
fn every_flipped_byte_is_found() {
    let place = place();
    place.keep_plain(3, 0, BODY);
    for path in place.files() {
        let right = fs::read(&path).expect("it is there");
        for at in 0..right.len() {
            let mut wrong = right.clone();
            wrong[at] ^= 0x10;
            fs::write(&path, &wrong).expect("there is room");
            assert_eq!(place.differences(), ["damaged"], "byte {at}");
            let kept = place.archive.kept(&dataset("x")).expect("it can be read");
            assert!(kept[0].open(&CancelToken::never()).is_err());
        }
        fs::write(&path, &right).expect("there is room");
    }
    assert_eq!(place.differences(), Vec::<&str>::new());
}

#[test]
fn what_is_gone_and_what_is_strange_is_found() {
    let place = place();
    place.keep_plain(3, 0, BODY);
    place.keep_plain(4, 0, BODY);
    let bodies = place.bodies();
    fs::remove_file(&bodies[0]).expect("it is there");
    fs::remove_file(bodies[1].with_extension("").with_extension("json")).expect("it is there");
    fs::write(bodies[1].with_file_name("notes.txt"), "mine").expect("there is room");
    assert_eq!(place.differences(), ["gone", "unknown", "unknown"]);
}

/// Each state in which a process that keeps a body may die.
#[test]
fn a_run_that_died_leaves_a_whole_body_or_none() {
    let place = place();
    place.keep_plain(3, 0, BODY);
    let files = place.files();
    let (note, body) = (&files[0], &files[1]);
    let staged = |end: &str| {
        let name = body.file_name().and_then(|name| name.to_str());
        let stem = name.expect("a text").trim_end_matches(".jsonl.gz");
        body.with_file_name(format!(".{stem}.a1b2c3{end}"))
    };
    // The body has its name, and the note has not.
    let waiting = staged(".note.tmp");
    fs::rename(note, &waiting).expect("it can be renamed");
    assert_eq!(place.differences(), Vec::<&str>::new());
    let kept = place.archive.kept(&dataset("x")).expect("it can be read");
    assert!(kept[0].note.is_ok());
    // Neither has: nothing is there, and the next one cleans up.
    fs::rename(body, staged(".body.tmp")).expect("it can be renamed");
    assert_eq!(place.differences(), Vec::<&str>::new());
    let kept = place.archive.kept(&dataset("x")).expect("it can be read");
    assert!(kept.is_empty());
    place.keep_plain(3, 0, BODY);
    assert_eq!(place.files(), files);
    // A body that only lacks its note's name gets it.
    fs::rename(note, &waiting).expect("it can be renamed");
    place.keep_plain(3, 5, b"{}\n");
    assert_eq!(place.files().len(), 4);
    assert!(note.exists() && place.differences().is_empty());
    // One that is alive is left alone.
    let alive = fs::File::create(&waiting).expect("there is room");
    alive.lock().expect("nobody has it");
    place.keep_plain(3, 6, b"[]\n");
    assert!(waiting.exists());
}

#[test]
fn old_days_of_the_dataset_are_pruned_and_no_other() {
    let place = place();
    for day in 1..5 {
        place.keep_plain(day, i64::from(day), BODY);
    }
    place.keep_plain(1, 9, b"{}\n");
    let other = dataset("y");
    let keep = |dataset: &Dataset, first, last| {
        let unit = days(dataset, date(2024, 1, first), date(2024, 1, last));
        let new = NewBody {
            dataset,
            unit: &unit,
            fetched_at: Timestamp::UNIX_EPOCH,
            body: facts(BODY),
            wire: facts(BODY),
            reading: json!(null),
        };
        let kept = place.archive.keep(&new, Content::Plain(&mut &BODY[..]));
        kept.expect("there is room");
    };
    keep(&other, 1, 1);
    // Its last day is to stay.
    keep(&dataset("x"), 1, 3);
    let prune = || {
        let pruned = place.archive.prune(&dataset("x"), date(2024, 1, 3));
        pruned.expect("it can be removed")
    };
    let pruned = prune();
    assert_eq!((pruned.removed.len(), pruned.others), (3, 1));
    assert_eq!(place.bodies().len(), 4);
    assert_eq!(place.differences(), Vec::<&str>::new());
    assert!(
        !place
            .archive
            .path()
            .join("12345/events/2024-01-02")
            .exists()
    );
    assert_eq!(prune().removed.len(), 0);
}

#[test]
fn an_archive_that_is_not_there_is_empty() {
    let place = place();
    let kept = place.archive.kept(&dataset("x")).expect("nothing is there");
    assert!(kept.is_empty());
    assert!(!place.archive.path().exists());
    place
        .archive
        .prepare(&dataset("x"))
        .expect("it can be made");
    assert_eq!(place.files(), Vec::<PathBuf>::new());
    // A file stands in its way.
    let archive = Archive::at(place.folder.path().join("archive/12345/events/x"));
    fs::write(archive.path(), "x").expect("there is room");
    assert!(archive.prepare(&dataset("x")).is_err());
}
