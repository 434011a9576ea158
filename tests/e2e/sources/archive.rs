//! `[archive]`: what is kept of a run, and that it is whole.

use std::io::Read as _;
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;
use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, ExportQuery, Fault, Matcher, Simulator};
use serde_json::{Value, json};

use crate::support::{DUCKDB, Place, STDOUT, events, pipeline, profiles, sim, started, workers};

fn data(seed: u64) -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 5), 1_000, 0, seed)
}

const FIVE: &str = "from = \"2024-01-01\"\nto = \"2024-01-05\"\nwindow_days = 1\n";

const ARCHIVE: &str = "[archive]\npath = \"archive\"\n";

/// All files of the archive, by their paths in it.
fn files(place: &Place) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![place.path("archive")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            match entry.unwrap().path() {
                path if path.is_dir() => folders.push(path),
                path => files.push(path),
            }
        }
    }
    files.sort();
    files
}

fn bodies(place: &Place) -> Vec<PathBuf> {
    let mut files = files(place);
    files.retain(|path| path.to_str().unwrap().ends_with(".jsonl.gz"));
    files
}

fn unpacked(path: &PathBuf) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).unwrap();
    MultiGzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let mut lines: Vec<Vec<u8>> = lines
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    lines.sort();
    lines
}

/// The lines of a day as the simulator gives them.
fn expected(sim: &Simulator, day: i8) -> Vec<Vec<u8>> {
    let day = date(2024, 1, day);
    let mut lines = sim.expected_events(&ExportQuery::new(day, day));
    lines.sort();
    lines
}

#[test]
fn every_whole_body_is_kept_as_it_came_whatever_the_sink() {
    for sink in [DUCKDB, STDOUT] {
        // Gzipped with chunks, and plain with no end but the connection's.
        for fault in [None, Some("export always unframed=whole")] {
            let sim = started(sim(data(1)));
            if let Some(fault) = fault {
                sim.add_fault(Fault::parse(fault).unwrap());
            }
            let place = Place::new();
            let text = pipeline(&[&events(&sim, FIVE), ARCHIVE, sink]);
            place.run(&text).0.ended(0);
            let bodies = bodies(&place);
            assert_eq!(bodies.len(), 5, "{bodies:?}");
            for (body, day) in bodies.iter().zip(1..) {
                let folder = format!("archive/12345/events/2024-01-0{day}");
                assert_eq!(body.parent().unwrap(), place.path(&folder));
                assert_eq!(lines(&unpacked(body)), expected(&sim, day));
            }
            // Nothing but bodies, and what is known of each.
            assert_eq!(files(&place).len(), 10);
            place
                .mixflow(&["archive", "verify", "test.toml"])
                .ended(0)
                .says("5 bodies in `archive`");
        }
    }
}

#[cfg(unix)]
#[test]
fn what_is_kept_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let sim = started(sim(data(1)));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, FIVE), ARCHIVE, DUCKDB]);
    place.run(&text).0.ended(0);
    let mode = |path: &std::path::Path| {
        let about = std::fs::metadata(path).unwrap();
        about.permissions().mode() & 0o777
    };
    for file in files(&place) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        for folder in file.ancestors().skip(1).take(4) {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
    }
}

#[test]
fn only_what_is_whole_is_kept() {
    for fault in [
        "terminated_early=10",
        "cut=0.5",
        "cut_clean=trailer",
        "corrupt_gzip",
    ] {
        let sim = started(sim(data(1)));
        let fault = format!("export from=2024-01-03 always {fault}");
        sim.add_fault(Fault::parse(&fault).unwrap());
        let place = Place::new();
        let text = pipeline(&[&events(&sim, FIVE), ARCHIVE, DUCKDB, &workers(3)]);
        place.run(&text).0.ended(3);
        assert_eq!(bodies(&place).len(), 4);
        assert!(!place.path("archive/12345/events/2024-01-03").exists());
        sim.clear_faults();
        place.run_with(&text, &["--only-failed"]).0.ended(0);
        assert_eq!(bodies(&place).len(), 5);
        place.mixflow(&["archive", "verify", "test.toml"]).ended(0);
    }
}

#[cfg(unix)]
#[test]
fn a_body_is_stored_once_whatever_runs_share_it() {
    use std::os::unix::fs::MetadataExt as _;
    let fourth = Matcher::export_from(date(2024, 1, 4));
    let sim = started(sim(data(1)).fault(Fault::always(fourth, Action::Drop)));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, FIVE), ARCHIVE, DUCKDB]);
    place.run(&text).0.ended(1);
    let inodes = |files: Vec<PathBuf>| -> Vec<u64> {
        let inode = |path: PathBuf| std::fs::metadata(path).unwrap().ino();
        let mut inodes: Vec<u64> = files.into_iter().map(inode).collect();
        inodes.sort();
        inodes
    };
    // What is kept for the next run is what is in the archive.
    let spool = std::fs::read_dir(place.path("state/spool")).unwrap();
    let spooled = spool.map(|entry| entry.unwrap().path()).collect();
    let kept = bodies(&place);
    assert_eq!(kept.len(), 3);
    assert_eq!(inodes(spooled), inodes(kept.clone()));
    // The next run takes these, and keeps them no second time.
    sim.clear_faults();
    sim.clear_log();
    place.run(&text).0.ended(0);
    assert_eq!(sim.requests().len(), 2);
    assert_eq!(bodies(&place)[..3], kept);
    assert_eq!(bodies(&place).len(), 5);
    // Fetched again at another time: a name of its own, for the same bytes.
    place.run(&format!("{text}mode = \"replace\"\n")).0.ended(0);
    let all = bodies(&place);
    assert_eq!(all.len(), 10);
    let mut different = inodes(all);
    different.dedup();
    assert_eq!(different.len(), 5);
    place.mixflow(&["archive", "verify", "test.toml"]).ended(0);
}

#[test]
fn every_flipped_byte_is_found_and_named() {
    let sim = started(sim(data(1)));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, FIVE), ARCHIVE, DUCKDB]);
    place.run(&text).0.ended(0);
    let verify = || place.mixflow(&["archive", "verify", "test.toml"]);
    for path in files(&place) {
        let right = std::fs::read(&path).unwrap();
        // Header, body, trailer: what gzip itself checks, and what it does not.
        for at in [4, right.len() / 2, right.len() - 1] {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            std::fs::write(&path, wrong).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let ran = verify().ended(1).says(name.trim_end_matches(".jsonl"));
            assert!(ran.stderr.contains("damaged"), "{}", ran.stderr);
        }
        std::fs::write(&path, right).unwrap();
    }
    let bodies = bodies(&place);
    std::fs::remove_file(&bodies[0]).unwrap();
    verify().ended(1).says("2024-01-01").says("gone");
    let json = place.mixflow(&["archive", "verify", "test.toml", "--format", "json"]);
    let found: Value = serde_json::from_slice(&json.ended(1).stdout).unwrap();
    assert_eq!(found[0]["problem"], "gone");
    assert_eq!(found.as_array().unwrap().len(), 1);
}

#[test]
fn what_is_kept_is_listed() {
    let sim = started(sim(data(1)));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, FIVE), ARCHIVE, DUCKDB]);
    place.run(&text).0.ended(0);
    let named =
        format!("{text}mode = \"replace\"\n").replace(FIVE, &format!("{FIVE}events = [\"a\"]\n"));
    place
        .run_with(&named, &["--set", "sink.allow_shrink=true"])
        .0
        .ended(0);
    let list = place.mixflow(&["archive", "list", "test.toml", "--format", "json"]);
    let list: Value = serde_json::from_slice(&list.ended(0).stdout).unwrap();
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 10);
    let first = list
        .iter()
        .find(|body| body["filters"] == json!({}))
        .unwrap();
    assert_eq!(first["first_day"], "2024-01-01");
    assert_eq!(first["last_day"], "2024-01-01");
    assert_eq!(
        (&first["project"], &first["type"]),
        (&"12345".into(), &"events".into())
    );
    let body = place.path("archive").join(first["file"].as_str().unwrap());
    assert_eq!(first["bytes"], unpacked(&body).len());
    assert!(
        list.iter()
            .any(|body| body["filters"] == json!({ "events": ["a"] }))
    );
    place.mixflow(&["archive", "list", "test.toml"]).ended(0);
}

#[test]
fn old_days_are_pruned_by_the_age_of_the_day() {
    let sim = started(sim(data(1)));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, FIVE), ARCHIVE, DUCKDB]);
    place.run(&text).0.ended(0);
    let at = |now: &str, args: &[&str]| {
        let mut command = place.command(args);
        crate::support::Ran::of(command.env("MIXFLOW_NOW", now).output().unwrap())
    };
    let prune = ["archive", "prune", "test.toml", "--older-than", "30d"];
    // The third is 30 days old.
    at("2024-02-02T12:00:00Z", &prune)
        .ended(0)
        .says("removed 2 bodies of days before 2024-01-03")
        .says("2024-01-01");
    assert_eq!(bodies(&place).len(), 3);
    at("2024-02-02T12:00:00Z", &prune)
        .ended(0)
        .says("removed 0 bodies");
    place.mixflow(&["archive", "verify", "test.toml"]).ended(0);
    place.mixflow(&["archive", "prune", "test.toml"]).ended(2);
}

#[test]
fn what_cannot_be_kept_ends_the_run_before_anything_is_asked_for() {
    let sim = started(sim(data(1)));
    let place = Place::new();
    // A file is where the folder would be.
    place.write("archive", "mine");
    let text = pipeline(&[&events(&sim, FIVE), ARCHIVE, DUCKDB, &workers(3)]);
    place
        .run(&text)
        .0
        .ended(1)
        .says("cannot keep bodies in the archive `archive`");
    assert_eq!(sim.requests().len(), 0);
    assert_eq!(place.names(), ["archive"]);
}

#[test]
fn a_body_that_cannot_be_kept_ends_the_run_and_is_not_asked_for_again() {
    let sim = started(sim(data(1)));
    let place = Place::new();
    let folder = place.path("archive/12345/events");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("2024-01-03"), "in the way").unwrap();
    let text = pipeline(&[&events(&sim, FIVE), ARCHIVE, DUCKDB, &workers(2)]);
    let (ran, report) = place.run(&text);
    ran.ended(1)
        .says("cannot keep 2024-01-03 in the archive `archive`")
        .says("nothing was written");
    assert_eq!(report["status"], "aborted");
    assert!(!place.path("out.db").exists());
    std::fs::remove_file(folder.join("2024-01-03")).unwrap();
    place.run(&text).0.ended(0);
    let third = |request: &&mixflow_tests::sim::LoggedRequest| {
        request.param("from_date") == Some("2024-01-03")
    };
    assert_eq!(sim.requests().iter().filter(third).count(), 1);
    assert_eq!(bodies(&place).len(), 5);
}

#[test]
fn check_says_where_an_archive_is_of_no_use() {
    let sim = started(sim(data(1)));
    let place = Place::new();
    let check = |text: &str| {
        place.write("test.toml", text);
        place.mixflow(&["check", "test.toml"])
    };
    let synthetic = "[source]\ntype = \"synthetic_events\"\n";
    check(&pipeline(&[synthetic, ARCHIVE, DUCKDB]))
        .ended(2)
        .says("nothing of `synthetic_events` can be kept in an archive");
    check(&pipeline(&[&profiles(&sim, ""), ARCHIVE, DUCKDB])).ended(0);
    let source = events(&sim, FIVE);
    let direct = "[run]\ndelivery = \"direct\"\n";
    check(&pipeline(&[&source, ARCHIVE, STDOUT, direct]))
        .ended(2)
        .says("`direct` does not go with `[archive]`");
    for (wrong, says) in [
        ("[archive]\n", "missing field `path`"),
        ("[archive]\npath = \"\"\n", "this is empty; name a folder"),
        (
            "[archive]\npath = \"ftp://a/b\"\n",
            "no file on this machine",
        ),
        (
            "[archive]\npath = \"a\"\nzip = true\n",
            "unknown field `zip`",
        ),
    ] {
        check(&pipeline(&[&source, wrong, DUCKDB]))
            .ended(2)
            .says(says);
    }
    check(&pipeline(&[&source, ARCHIVE, DUCKDB])).ended(0);
    let plan = place.mixflow(&["plan", "test.toml"]).ended(0);
    let says = "archive     each answer is kept in archive, unmasked\n";
    assert!(
        plan.stdout_lossy().contains(says),
        "{}",
        plan.stdout_lossy()
    );
    // Nothing was made.
    assert_eq!(place.names(), Vec::<String>::new());
}
