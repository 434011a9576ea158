//! What is there is not given up for next to nothing.

use jiff::civil::date;
use mixflow_tests::sim::{Data, Simulator};

use crate::rows::form::{assert_same, written_by};
use crate::sinks::plugin::csv;
use crate::support::{Place, Ran, SECRET, events, pipeline, profiles, sim, started, workers};

const SINKS: [(&str, &str); 4] = [
    ("duckdb", "out.db"),
    ("parquet", "out"),
    ("parquet", "out.parquet"),
    ("jsonl", "out.jsonl"),
];

/// Three days of 200 events each.
fn data() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 3), 600, 50, 7)
}

/// The same without some of the days.
fn without(days: &[i8]) -> Data {
    let mut data = data();
    for day in days {
        data.clear_day(date(2024, 1, *day));
    }
    data
}

fn source(sim: &Simulator) -> String {
    let days = "from = \"2024-01-01\"\nto = \"2024-01-03\"\nwindow_days = 1\n";
    events(sim, days)
}

fn replace(kind: &str, path: &str) -> String {
    format!("[sink]\ntype = \"{kind}\"\npath = \"{path}\"\nmode = \"replace\"\n")
}

fn run(place: &Place, source: &str, sink: &str) -> Ran {
    place.run(&pipeline(&[source, sink])).0
}

#[test]
fn replace_by_less_than_half_or_by_nothing_is_refused_unless_told_otherwise() {
    let sim = started(sim(data()));
    for (kind, path) in SINKS {
        let place = Place::new();
        sim.set_data(data());
        let sink = replace(kind, path);
        run(&place, &source(&sim), &sink).ended(0);
        let before = written_by(kind, &place.path(path));
        for (days, told) in [(&[1, 2][..], "less than half"), (&[1, 2, 3], " to 0 rows")] {
            sim.set_data(without(days));
            run(&place, &source(&sim), &sink)
                .ended(1)
                .says(told)
                .says("nothing was written")
                .says("--set sink.allow_shrink=true");
            assert_same(&written_by(kind, &place.path(path)), &before);
            assert_eq!(place.names(), [path]);
        }
        let allowed = format!("{sink}allow_shrink = true\n");
        run(&place, &source(&sim), &allowed).ended(0);
        assert_same(&written_by(kind, &place.path(path)), &[]);
        // Where there is nothing there is nothing to lose.
        run(&place, &source(&sim), &sink).ended(0);
    }
}

#[test]
fn a_loaded_sink_refuses_it_as_well() {
    let sim = started(sim(data()));
    let place = Place::new();
    let sink = |options: &str| {
        format!(
            "[sink]\ntype = \"plugin\"\nlibrary = \"{}\"\noptions = {{ path = \"out.csv\", mode = \"replace\"{options} }}\n",
            csv().display()
        )
    };
    run(&place, &source(&sim), &sink("")).ended(0);
    let before = place.read("out.csv");
    sim.set_data(without(&[1, 2]));
    run(&place, &source(&sim), &sink(""))
        .ended(1)
        .says("cannot replace out.csv by less than half of it");
    assert_eq!(place.read("out.csv"), before);
    run(&place, &source(&sim), &sink(", allow_shrink = true")).ended(0);
    assert!(place.read("out.csv").len() < before.len() / 2);
}

#[test]
fn a_snapshot_of_profiles_is_not_replaced_by_a_few() {
    let sim = started(sim(data()));
    let place = Place::new();
    let sink = replace("duckdb", "out.db");
    run(&place, &profiles(&sim, ""), &sink).ended(0);
    sim.set_data(Data::generated_between(
        date(2024, 1, 1),
        date(2024, 1, 3),
        0,
        20,
        7,
    ));
    run(&place, &profiles(&sim, ""), &sink)
        .ended(1)
        .says("this would shrink it from 50 to 20 rows");
    let count = "SELECT count(*) FROM profiles";
    assert_eq!(place.sql("out.db", count), [["50"]]);
    // `fetch` has a flag for it.
    let mut fetch = place.command(&["fetch", "profiles", "--db", "out.db", "--replace"]);
    fetch
        .env("MIXPANEL_USERNAME", "sim")
        .env("MIXPANEL_SECRET", SECRET)
        .env("MIXPANEL_PROJECT_ID", "12345")
        .env("MIXPANEL_BASE_URL", sim.base_url());
    Ran::of(fetch.output().unwrap())
        .ended(1)
        .says("`fetch` has `--allow-shrink`");
    Ran::of(fetch.arg("--allow-shrink").output().unwrap()).ended(0);
    assert_eq!(place.sql("out.db", count), [["20"]]);
}

#[test]
fn a_day_whose_records_are_all_rejected_has_failed() {
    let sim = started(sim(data()));
    let unreadable = || {
        let mut data = without(&[2]);
        for n in 0..900 {
            let line = format!(r#"{{"event":"x","properties":{{"n":{n}}}}}"#);
            data.add_raw_line(date(2024, 1, 2), line);
        }
        data
    };
    for (kind, path) in SINKS {
        for n in [1, 3] {
            let place = Place::new();
            sim.set_data(data());
            let sink = format!("{}allow_shrink = true\n", replace(kind, path));
            run(&place, &source(&sim), &sink).ended(0);
            let before = written_by(kind, &place.path(path));
            sim.set_data(unreadable());
            let (ran, report) = place.run(&pipeline(&[&source(&sim), &sink, &workers(n)]));
            let told = "none of the 900 records of 2024-01-02 can be read";
            let ran = ran.says(told);
            assert_eq!(report["rejected"], 900);
            assert_eq!(report["failed_partitions"][0], "2024-01-02");
            if n == 1 {
                ran.ended(1).says("nothing was written");
                assert_same(&written_by(kind, &place.path(path)), &before);
            } else {
                // The other days are kept, and the missing one is named.
                ran.ended(3).says("missing: 2024-01-02");
            }
        }
    }
}
