//! Rows that do not belong beside what is at the destination.

use jiff::civil::date;
use mixflow_sink_duckdb::Store;
use mixflow_tests::sim::{Data, Simulator};

use crate::rows::form::{Event, in_parquet, in_table};
use crate::support::{Place, Ran, events, pipeline, sim, started};

const SINKS: [(&str, &str); 2] = [("duckdb", "out.db"), ("parquet", "out")];
const MODES: [&str; 2] = ["append", "replace_window"];

fn store() -> Simulator {
    let (first, last) = (date(2024, 1, 1), date(2024, 1, 2));
    started(sim(Data::generated_between(first, last, 200, 0, 7)))
}

/// Runs the two days through `transform` into a sink.
fn run(place: &Place, sim: &Simulator, transform: &str, sink: &str, key: &str) -> Ran {
    let source = events(sim, "from = \"2024-01-01\"\nto = \"2024-01-02\"\n");
    place.write("t.toml", &pipeline(&[&source, transform, sink]));
    let mut command = place.command(&["run", "t.toml"]);
    Ran::of(command.env("HASH_KEY", key).output().unwrap())
}

fn sink(kind: &str, path: &str, mode: &str) -> String {
    format!("[sink]\ntype = \"{kind}\"\npath = \"{path}\"\nmode = \"{mode}\"\n")
}

/// Counts the rows of the destination.
fn count(place: &Place, kind: &str) -> usize {
    match kind {
        "duckdb" => in_table::<Event>(&place.path("out.db"), "events").len(),
        _ => in_parquet::<Event>(&place.path("out")).len(),
    }
}

/// Makes a column of a property.
fn extract(kind: &str) -> String {
    format!(
        "[[transform]]\ntype = \"extract\"\ncolumns = [{{ name = \"town\", path = \"$city\", type = \"{kind}\" }}]\n"
    )
}

#[test]
fn a_column_of_another_type_or_less_is_refused_with_its_name_and_type() {
    let sim = store();
    for (kind, path) in SINKS {
        let place = Place::new();
        let text = extract("text");
        run(&place, &sim, &text, &sink(kind, path, "create"), "").ended(0);
        for mode in MODES {
            sim.clear_log();
            run(&place, &sim, &extract("int"), &sink(kind, path, mode), "")
                .ended(6)
                .says("has other columns than the rows")
                .says("- town VARCHAR, + town BIGINT")
                .says("as it was before");
            run(&place, &sim, "", &sink(kind, path, mode), "")
                .ended(6)
                .says("from there to the rows: - town VARCHAR");
            assert_eq!(sim.requests().len(), 0);
        }
        assert_eq!(count(&place, kind), 200);
        run(&place, &sim, "", &sink(kind, path, "replace"), "").ended(0);
    }
}

/// Says of each day whether it has rows with a town, and rows without.
fn towns(place: &Place, kind: &str) -> Vec<Vec<String>> {
    let (database, from) = match kind {
        "duckdb" => ("out.db", "events".to_owned()),
        _ => {
            drop(Store::open(place.path("asks.db")).unwrap());
            let files = place.path("out/**/*.parquet");
            let files = files.display();
            (
                "asks.db",
                format!("read_parquet('{files}', union_by_name = true)"),
            )
        }
    };
    let sql = format!(
        "SELECT day(event_time), count(town) > 0, count(town) < count(*) FROM {from} GROUP BY 1 ORDER BY 1"
    );
    place.sql(database, &sql)
}

#[test]
fn a_column_more_is_added_and_a_replay_fills_the_rows_of_before() {
    let sim = store();
    let archive = "[archive]\npath = \"kept\"\n";
    for (kind, path) in SINKS {
        let place = Place::new();
        run(&place, &sim, archive, &sink(kind, path, "create"), "").ended(0);
        let more = format!("{archive}{}", extract("text"));
        let into = sink(kind, path, "replace_window");
        let source = events(&sim, "from = \"2024-01-02\"\nto = \"2024-01-02\"\n");
        place.write("t.toml", &pipeline(&[&source, &more, &into]));
        let plan = place.mixflow(&["plan", "t.toml"]).ended(0);
        let plan = plan.stdout_lossy();
        assert_eq!(
            plan.contains("and adds the columns `town`"),
            kind == "duckdb",
            "{plan}"
        );
        place.mixflow(&["run", "t.toml"]).ended(0);
        let filled = |filled: bool| vec![filled.to_string(), (!filled).to_string()];
        let days = |first: bool| {
            [(1, first), (2, true)].map(|(day, has)| [vec![day.to_string()], filled(has)].concat())
        };
        assert_eq!(towns(&place, kind), days(false));
        sim.clear_log();
        let first = ["--from", "2024-01-01", "--to", "2024-01-01"];
        let replay = ["replay", "t.toml"].iter().chain(&first).copied();
        place.mixflow(&replay.collect::<Vec<_>>()).ended(0);
        assert_eq!(towns(&place, kind), days(true));
        assert_eq!((count(&place, kind), sim.requests().len()), (200, 0));
    }
}

#[test]
fn days_are_not_doubled_in_a_folder_that_has_none() {
    let (sim, place) = (store(), Place::new());
    let flat = format!(
        "{}partition_by = \"none\"\n",
        sink("parquet", "out", "create")
    );
    run(&place, &sim, "", &flat, "").ended(0);
    for mode in MODES {
        run(&place, &sim, "", &sink("parquet", "out", mode), "")
            .ended(6)
            .says("stands in no folder of a day")
            .says("as it was before");
        assert_eq!(count(&place, "parquet"), 200);
    }
    run(&place, &sim, "", &sink("parquet", "out", "replace"), "").ended(0);
    run(
        &place,
        &sim,
        "",
        &sink("parquet", "out", "replace_window"),
        "",
    )
    .ended(0);
    assert_eq!(count(&place, "parquet"), 200);
}

#[test]
fn rows_hashed_with_another_key_are_refused() {
    let sim = store();
    let hash = "[[transform]]\ntype = \"hash\"\ncolumns = [\"distinct_id\"]\nkey = { env = \"HASH_KEY\" }\n";
    let (one, other) = ("a key of enough bytes", "another key, as long");
    for (kind, path) in SINKS {
        let place = Place::new();
        run(&place, &sim, hash, &sink(kind, path, "create"), one).ended(0);
        for mode in MODES {
            let refused = run(&place, &sim, hash, &sink(kind, path, mode), other)
                .ended(6)
                .says("do not belong beside those of")
                .says("the key of `hash` is not the one that they were made with");
            assert!(!refused.stderr.contains(other) && !refused.stderr.contains(one));
            run(&place, &sim, "", &sink(kind, path, mode), "")
                .ended(6)
                .says("they were made with a key of `hash`, and this pipeline has none");
        }
        assert_eq!(count(&place, kind), 200);
        run(&place, &sim, hash, &sink(kind, path, "replace_window"), one).ended(0);
        run(&place, &sim, hash, &sink(kind, path, "append"), one).ended(0);
        assert_eq!(count(&place, kind), 400);
        // The plan is made without the key.
        place.mixflow(&["plan", "t.toml"]).ended(0);
        run(&place, &sim, hash, &sink(kind, path, "replace"), other).ended(0);
        run(&place, &sim, hash, &sink(kind, path, "append"), one).ended(6);
    }
}
