//! Rows that do not belong beside what is at the destination.

use jiff::civil::date;
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

#[test]
fn a_column_more_is_refused_with_its_name_and_type() {
    let sim = store();
    let extract = "[[transform]]\ntype = \"extract\"\ncolumns = [{ name = \"mp\", path = \"$city\", type = \"text\" }]\n";
    for (kind, path) in SINKS {
        let place = Place::new();
        run(&place, &sim, "", &sink(kind, path, "create"), "").ended(0);
        for mode in MODES {
            sim.clear_log();
            run(&place, &sim, extract, &sink(kind, path, mode), "")
                .ended(6)
                .says("has other columns than the rows")
                .says("+ mp VARCHAR")
                .says("as it was before");
            assert_eq!(sim.requests().len(), 0);
        }
        assert_eq!(count(&place, kind), 200);
        run(&place, &sim, extract, &sink(kind, path, "replace"), "").ended(0);
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
