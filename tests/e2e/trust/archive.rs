//! Killed, or on a full disk, at any moment: the archive has whole bodies under
//! their names, and no other.

use jiff::civil::date;
use mixflow_tests::sim::{Data, ExportQuery};

use super::kills::{MOMENTS, kill_at};
use crate::rows::form::{assert_same, expected_events, sorted, written_by};
use crate::sinks::destinations::mounted;
use crate::support::{Place, events, pipeline, sim, started};

fn data() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 4), 12_000, 0, 1)
}

const ARCHIVE: &str = "[archive]\npath = \"archive/kept\"\n";

const FOUR: &str = "from = \"2024-01-01\"\nto = \"2024-01-04\"\nwindow_days = 1\n";

const SINK: &str = "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\nmode = \"replace\"\n";

#[test]
fn a_process_that_is_killed_leaves_whole_bodies_and_the_next_run_goes_on() {
    let sim = started(sim(data()));
    let days = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 4));
    let expected = sorted(expected_events(&sim, &days));
    let text = pipeline(&[&events(&sim, FOUR), ARCHIVE, SINK]);
    for moment in MOMENTS {
        let place = Place::new();
        place.write("test.toml", &text);
        kill_at(&place, moment);
        let verify = ["archive", "verify", "test.toml"];
        if place.path("archive/kept").exists() {
            place.mixflow(&verify).ended(0);
        }
        place.run(&text).0.ended(0);
        place
            .mixflow(&verify)
            .ended(0)
            .says(" bodies in `archive/kept`");
        let set = ["--set", "sink.path=again.db"];
        place
            .mixflow(&[&["replay", "test.toml"], &set[..]].concat())
            .ended(0);
        assert_same(&written_by("duckdb", &place.path("again.db")), &expected);
    }
}

#[test]
fn a_full_archive_ends_the_run_and_leaves_whole_bodies() {
    let sim = started(sim(data()));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, FOUR), ARCHIVE, SINK, "[run]\nworkers = 4\n"]);
    place.write("test.toml", &text);
    std::fs::create_dir(place.path("archive")).unwrap();
    let binary = env!("CARGO_BIN_EXE_mixflow");
    let script = format!(
        "for pages in 1 4 30 90 180 270 400 600; do
             mount -t tmpfs -o size=$((pages * 4096)) tmpfs archive || exit 99
             {binary} run -q test.toml 2>said
             code=$?
             there=$([ -e out.db ] && echo table || echo none)
             {binary} archive verify -q test.toml 2>/dev/null; verified=$?
             [ -d archive/kept ] || verified=0
             echo try $code $there $verified $(find archive -name '*.gz' | wc -l)
             [ $code = 0 ] || cat said >&2
             mount -o remount,size=100m archive || exit 99
             {binary} run -q test.toml || exit 98
             {binary} archive verify -q test.toml || exit 97
             umount archive
             rm out.db
         done"
    );
    let Some(ran) = mounted(&place, &script) else {
        return;
    };
    let said = ran.stdout_lossy();
    let tried: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("try "))
        .collect();
    assert_eq!(tried.len(), 8, "{said}\n{}", ran.stderr);
    for tried in &tried {
        match tried.split(' ').nth(1) {
            Some("0") => assert_eq!(*tried, "try 0 table 0 4"),
            _ => assert!(tried.starts_with("try 1 none 0 "), "{tried}"),
        }
    }
    assert!(tried[0].starts_with("try 1 "), "{said}");
    assert!(tried[7].starts_with("try 0 "), "{said}");
    ran.says("in the archive `archive/kept`")
        .says("free some disk space");
}
