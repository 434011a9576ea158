//! `--report` beside, onto and into what a run writes.

use jiff::civil::date;
use mixflow_tests::sim::{Data, Simulator};
use serde_json::{Value, json};

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

fn written(place: &Place) -> Value {
    serde_json::from_str(&place.read("report.json")).unwrap()
}

const MADE: &str = "[source]\ntype = \"synthetic_events\"\nrows = 3\nfrom = \"2024-01-01\"\nto = \"2024-01-01\"\n[sink]\ntype = \"jsonl\"\npath = \"out.jsonl\"\nmode = \"replace\"\n";

#[test]
fn a_file_that_is_wrong_has_a_report_that_says_so() {
    let place = Place::new();
    place.write("t.toml", &format!("name = \"daily\"\nnam = 1\n{MADE}"));
    reported(&place, "report.json").ended(2);
    let report = written(&place);
    assert_eq!(report["pipeline"], "daily");
    assert_eq!(report["status"], "aborted");
    assert_eq!(
        report["error"],
        json!({
            "kind": "config",
            "message": "cannot build the pipeline of t.toml",
            "causes": ["t.toml:2:7: `nam`: unknown field `nam`, expected one of `name`, `source`, `transform`, `sink`, `run`, `archive`, `notify`, did you mean `name`?"],
            "hint": "correct it; `mixflow check FILE` shows where",
        })
    );
    // Everything that is wrong is in it.
    place.write("t.toml", "[sink]\ntype = \"duckdb\"\npath = \"${UNSET}\"\n");
    reported(&place, "report.json").ended(2);
    let report = written(&place);
    assert_eq!(report["pipeline"], "t");
    let causes = report["error"]["causes"].as_array().unwrap();
    assert_eq!(causes.len(), 2, "{causes:?}");
}

#[test]
fn a_file_that_is_not_there_has_a_report_that_says_so() {
    let place = Place::new();
    place
        .mixflow(&["run", "gone.toml", "--report", "report.json"])
        .ended(2);
    let report = written(&place);
    assert_eq!(report["pipeline"], "gone");
    assert_eq!(report["status"], "aborted");
    assert_eq!(
        report["error"]["message"],
        "cannot read the pipeline file `gone.toml`"
    );
    assert!(report["started_at"].as_str() > Some("2020"));
    place
        .mixflow(&["fetch", "events", "--report", "report.json"])
        .ended(2);
    assert_eq!(written(&place)["pipeline"], "fetch events");
}

#[test]
fn several_files_have_a_list_with_an_entry_for_each() {
    let place = Place::new();
    place.write("a.toml", MADE).write("b.toml", "[source");
    let files = [
        "run",
        "a.toml",
        "b.toml",
        "gone.toml",
        "--report",
        "report.json",
    ];
    place.mixflow(&files).ended(2);
    let statuses: Vec<(String, String)> = written(&place)
        .as_array()
        .unwrap()
        .iter()
        .map(|report| {
            let text = |key: &str| report[key].as_str().unwrap().to_owned();
            (text("pipeline"), text("status"))
        })
        .collect();
    let pairs = [("a", "committed"), ("b", "aborted"), ("gone", "aborted")];
    assert_eq!(
        statuses,
        pairs.map(|(name, status)| (name.to_owned(), status.to_owned()))
    );
}

#[test]
fn one_file_of_which_nothing_is_missing_has_a_report() {
    let (sim, place) = (store(), Place::new());
    place.write("t.toml", &pipeline(&[&day(&sim), DUCKDB]));
    reported(&place, "report.json").ended(0);
    let again = ["run", "t.toml", "--only-failed", "--report", "report.json"];
    place.mixflow(&again).ended(0).says("nothing is missing");
    assert_eq!(written(&place)["status"], "committed");
    assert_eq!(written(&place)["row_count"], 0);
    // And why it is not known what is.
    place.write(
        "t.toml",
        &pipeline(&[&day(&sim), DUCKDB.replace("out.db", "b.db").as_str()]),
    );
    place.mixflow(&again).ended(2);
    assert_eq!(written(&place)["status"], "aborted");
    assert_eq!(
        written(&place)["error"]["message"],
        "cannot tell what failed in `t`"
    );
}

#[test]
fn the_report_of_what_could_not_be_built_destroys_nothing() {
    let place = Place::new();
    place.write("t.toml", "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\n");
    // It is where the rows would go, whether there are some or not.
    reported(&place, "out.db")
        .ended(2)
        .says("warning: cannot write the report to `out.db`: the rows of the run go there");
    assert_eq!(place.names(), Vec::<String>::new());
    // It may be, since nobody knows.
    place.write("t.toml", "[sink]\ntype = \"duckdb\"\npath = \"${UNSET}\"\n");
    for content in ["what was there", "{\"event_name\": \"a\"}\n", "[{}]"] {
        place.write("out.db", content);
        reported(&place, "out.db")
            .ended(2)
            .says("cannot write the report to `out.db`: what is there is no report");
        assert_eq!(place.read("out.db"), content);
    }
    // An earlier report is none of that, nor is an empty file.
    place.write("report.json", "");
    for _ in 0..2 {
        reported(&place, "report.json").ended(2);
        assert_eq!(written(&place)["status"], "aborted");
    }
}

#[test]
fn a_report_onto_a_pipeline_is_refused() {
    let place = Place::new();
    place.write("a.toml", MADE).write("b.toml", MADE);
    place
        .mixflow(&["run", "a.toml", "b.toml", "--report", "./b.toml"])
        .ended(2)
        .says("cannot write the report to `./b.toml`")
        .says("the pipeline stands there");
    assert_eq!(place.read("b.toml"), MADE);
    assert_eq!(place.names(), Vec::<String>::new());
}
