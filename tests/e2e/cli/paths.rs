//! Paths as people write them: `~/`, URLs, and names that say how to write.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use mixflow_tests::sim::{Data, ExportQuery};

use crate::rows::form::{Event, assert_same, expected_events, in_lines};
use crate::support::{Place, SECRET, events, pipeline, sim, started};

const SINKS: [(&str, &str); 4] = [
    ("duckdb", "out.db"),
    ("jsonl", "out.jsonl"),
    ("parquet", "out.parquet"),
    ("parquet", "out"),
];

#[test]
fn a_tilde_is_the_home_folder_whoever_reads_it() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    place.write("secret", SECRET);
    let source = events(&sim, "").replace("env = \"SIM_SECRET\"", "file = \"~/secret\"");
    for (kind, path) in SINKS {
        let sink = format!("[sink]\ntype = \"{kind}\"\npath = \"~/{path}\"\n");
        place.write("t.toml", &pipeline(&[&source, &sink]));
        place
            .mixflow(&["run", "t.toml", "--report=~/told.json"])
            .ended(0);
        assert!(place.path(path).exists(), "{path}");
        std::fs::remove_file(place.path("told.json")).unwrap();
    }
    let db = ["--db=~/out.db", "--output=~/n.csv"];
    place
        .mixflow(&[&["query", "SELECT 1 AS n"], &db[..]].concat())
        .ended(0);
    assert_eq!(place.read("n.csv"), "n\n1\n");
    assert!(!place.path("~").exists());
}

#[test]
fn urls_are_no_paths() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    for (kind, _) in SINKS {
        for url in ["md:mine", "s3://bucket/out.parquet"] {
            if kind == "parquet" && url.starts_with("s3") {
                // It goes there.
                continue;
            }
            let sink = format!("[sink]\ntype = \"{kind}\"\npath = \"{url}\"\n");
            place
                .run(&pipeline(&[&events(&sim, ""), &sink]))
                .0
                .ended(2)
                .says("`sink.path`")
                .says("it is no file on this machine");
        }
    }
    for flag in ["--db=md:mine", "--output=s3://bucket/a.csv"] {
        place
            .mixflow(&["query", "SELECT 1", flag])
            .ended(2)
            .says("it is no file on this machine");
    }
    assert_eq!(sim.requests().len(), 0);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn lines_in_a_file_that_ends_in_gz_are_gzipped() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let sink = "[sink]\ntype = \"jsonl\"\npath = \"out.jsonl.gz\"\nmode = \"append\"\n";
    let text = pipeline(&[&events(&sim, ""), sink]);
    let query = ExportQuery::new("2024-01-01".parse().unwrap(), "2024-01-14".parse().unwrap());
    let mut expected = Vec::new();
    for _ in 0..2 {
        place.run(&text).0.ended(0);
        expected.extend(expected_events(&sim, &query));
        let file = std::fs::File::open(place.path("out.jsonl.gz")).unwrap();
        let mut lines = Vec::new();
        MultiGzDecoder::new(file).read_to_end(&mut lines).unwrap();
        assert_same(&in_lines::<Event>(&lines), &expected);
    }
    // Behind plain lines nobody would look for gzip.
    place.write("out.jsonl.gz", "{}\n");
    sim.clear_log();
    place
        .run(&text)
        .0
        .ended(6)
        .says("it is not a whole gzip file");
    assert_eq!(sim.requests().len(), 0);
    assert_eq!(place.read("out.jsonl.gz"), "{}\n");
}
