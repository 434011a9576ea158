//! `--report` beside, onto and into what a run writes.

use jiff::civil::date;
use mixflow_tests::sim::{Data, Simulator};

use crate::support::{DUCKDB, Place, Ran, events, pipeline, sim, started};

const SINKS: [(&str, &str); 4] = [
    ("duckdb", "out.db"),
    ("jsonl", "out.jsonl"),
    ("parquet", "out.parquet"),
    ("parquet", "out"),
];

fn store() -> Simulator {
    let day = date(2024, 1, 1);
    started(sim(Data::generated_between(day, day, 50, 0, 7)))
}

fn day(sim: &Simulator) -> String {
    events(sim, "from = \"2024-01-01\"\nto = \"2024-01-01\"\n")
}

fn reported(place: &Place, report: &str) -> Ran {
    place.mixflow(&["run", "t.toml", "--report", report])
}

/// Everything that is at a place, by its path.
fn content(path: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    if !path.is_dir() {
        return vec![(path.to_owned(), std::fs::read(path).unwrap())];
    }
    let entries = std::fs::read_dir(path).unwrap();
    let mut found: Vec<_> = entries
        .flat_map(|entry| content(&entry.unwrap().path()))
        .collect();
    found.sort();
    found
}

#[test]
fn a_report_onto_the_destination_is_refused_before_anything() {
    let sim = store();
    for (kind, path) in SINKS {
        let place = Place::new();
        let sink = format!("[sink]\ntype = \"{kind}\"\npath = \"{path}\"\nmode = \"replace\"\n");
        place.write("t.toml", &pipeline(&[&day(&sim), &sink]));
        std::fs::create_dir(place.path("sub")).unwrap();
        let absolute = place.path(path);
        let upper = path.to_uppercase();
        let mut ways = vec![
            path.to_owned(),
            format!("./{path}"),
            format!("sub/../{path}"),
            absolute.to_str().unwrap().to_owned(),
            upper,
        ];
        // It may lead to what is not there yet.
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(path, place.path("link")).unwrap();
            ways.push("link".to_owned());
        }
        for is_there in [false, true] {
            for way in &ways {
                sim.clear_log();
                reported(&place, way)
                    .ended(2)
                    .says("cannot write the report to")
                    .says("the rows of the run go there");
                assert_eq!(sim.requests().len(), 0);
                assert_eq!(absolute.exists(), is_there, "{way}");
            }
            reported(&place, "report.json").ended(0);
        }
        // Under another name of the file, or in the folder.
        if absolute.is_file() {
            std::fs::hard_link(&absolute, place.path("second")).unwrap();
            ways.push("second".to_owned());
        } else {
            ways.push(format!("{path}/report.json"));
        }
        let before = content(&absolute);
        for way in &ways {
            reported(&place, way).ended(2);
        }
        assert_eq!(content(&absolute), before);
    }
}

#[test]
fn a_report_that_cannot_be_written_takes_nothing_back() {
    let (sim, place) = (store(), Place::new());
    place.write("t.toml", &pipeline(&[&day(&sim), DUCKDB]));
    reported(&place, "no/such/folder/report.json")
        .ended(0)
        .says("warning: cannot write the report to `no/such/folder/report.json`")
        .says("committed 50 rows");
    assert_eq!(place.sql("out.db", "SELECT count(*) FROM events"), [["50"]]);
    // What failed for another reason fails for that one.
    reported(&place, "no/such/folder/report.json").ended(6);
}

#[test]
fn what_was_not_run_has_no_report() {
    let place = Place::new();
    place.write("t.toml", "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\n");
    place.write("out.db", "what was there");
    reported(&place, "out.db").ended(2);
    assert_eq!(place.read("out.db"), "what was there");
}
