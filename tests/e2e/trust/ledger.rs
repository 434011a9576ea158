//! What a database says of its days is what it holds.

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, Fault, Matcher, Simulator};

use crate::support::{Place, Ran, events, pipeline, sim, started};

const SINK: &str = "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\nmode = \"replace_window\"\nallow_shrink = true\n";

fn line(name: &str, time: &str, id: &str) -> String {
    let time: jiff::Timestamp = time.parse().unwrap();
    let seconds = time.as_second();
    format!(
        r#"{{"event":"{name}","properties":{{"time":{seconds},"distinct_id":"u","$insert_id":"{id}","mp_processing_time_ms":{seconds}000}}}}"#
    )
}

/// Five days: of the 2nd, some events say that they happened on others; the
/// 4th has none.
fn data() -> Data {
    let mut data = Data::default();
    for (day, time, id) in [
        (1, "2024-01-01T10:00:00Z", "a"),
        (1, "2024-01-01T11:00:00Z", "b"),
        (2, "2024-01-02T10:00:00Z", "c"),
        (2, "2024-01-01T23:00:00Z", "early"),
        (2, "2024-01-03T01:00:00Z", "late"),
        // The same twice, and once more where it seems to belong.
        (2, "2024-01-03T02:00:00Z", "twice"),
        (2, "2024-01-03T02:00:00Z", "twice"),
        (3, "2024-01-03T02:00:00Z", "twice"),
        (3, "2024-01-03T10:00:00Z", "d"),
        (5, "2024-01-05T10:00:00Z", "e"),
    ] {
        data.add_raw_line(date(2024, 1, day), line("A", time, id).as_bytes());
    }
    data
}

fn fetch(place: &Place, sim: &Simulator, first: i8, last: i8, more: &str) -> Ran {
    let days =
        format!("from = \"2024-01-0{first}\"\nto = \"2024-01-0{last}\"\nwindow_days = 1\n{more}");
    place.run(&pipeline(&[&events(sim, &days), SINK])).0
}

fn rows(place: &Place) -> Vec<Vec<String>> {
    place.sql(
        "out.db",
        "SELECT insert_id, event_time, count(*) FROM events GROUP BY ALL ORDER BY ALL",
    )
}

#[test]
fn each_day_has_a_record_that_is_true_of_the_table() {
    let sim = started(sim(data()));
    let place = Place::new();
    fetch(&place, &sim, 1, 5, "").ended(0);
    let days = place.sql(
        "out.db",
        "SELECT table_name, day, state, rows, duplicates, bytes > 0, run_id IS NOT NULL, \
         length(unit_key) FROM _mixflow_days ORDER BY day",
    );
    let day = |n: &str, state: &str, rows: &str, bytes: &str| {
        let row = ["events", n, state, rows, "0", bytes, "true", "32"];
        row.map(str::to_owned).to_vec()
    };
    assert_eq!(
        days,
        [
            day("2024-01-01", "complete", "2", "true"),
            day("2024-01-02", "complete", "5", "true"),
            day("2024-01-03", "complete", "2", "true"),
            day("2024-01-04", "empty", "0", "false"),
            day("2024-01-05", "complete", "1", "true"),
        ]
    );
    let units = "SELECT outside, latest_processing_ms FROM _mixflow_units \
                 WHERE first_day = DATE '2024-01-02'";
    assert_eq!(place.sql("out.db", units), [["4", "1704247200000"]]);
}

#[test]
fn rows_outside_their_day_are_neither_doubled_nor_lost_in_any_order_of_runs() {
    let sim = started(sim(data()));
    let place = Place::new();
    fetch(&place, &sim, 1, 5, "")
        .ended(0)
        .says("4 rows lie outside the days that they were fetched for, such as of 2024-01-02: `timezone` may be wrong");
    let before = rows(&place);
    assert_eq!(before.len(), 8);
    for (first, last) in [
        (1, 5),
        (1, 5),
        (3, 3),
        (2, 2),
        (1, 1),
        (2, 3),
        (3, 5),
        (2, 2),
        (1, 2),
    ] {
        fetch(&place, &sim, first, last, "").ended(0);
        assert_eq!(rows(&place), before, "after {first}..{last}");
    }
    // What is gone at the server goes here, too, wherever it lies.
    let mut fewer = data();
    fewer.clear_day(date(2024, 1, 2));
    sim.set_data(fewer);
    fetch(&place, &sim, 2, 2, "").ended(0);
    let ids = "SELECT string_agg(insert_id, ' ' ORDER BY insert_id) FROM events";
    assert_eq!(place.sql("out.db", ids), [["a b d e twice"]]);
    let outside = "SELECT count(*) FROM _mixflow_outside";
    assert_eq!(place.sql("out.db", outside), [["0"]]);
}

#[test]
fn the_first_run_may_have_made_the_table_in_another_mode() {
    let sim = started(sim(data()));
    let place = Place::new();
    let days = "from = \"2024-01-01\"\nto = \"2024-01-05\"\nwindow_days = 1\n";
    let sink = "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\n";
    place
        .run(&pipeline(&[&events(&sim, days), sink]))
        .0
        .ended(0);
    let before = rows(&place);
    fetch(&place, &sim, 2, 2, "").ended(0);
    fetch(&place, &sim, 3, 3, "").ended(0);
    assert_eq!(rows(&place), before);
}

#[test]
fn metadata_claims_no_day_that_nobody_has_fetched() {
    let sim = started(sim(data()));
    let place = Place::new();
    let metadata = "SELECT from_date, to_date, status, missing, row_count FROM _metadata";
    let days = |range: [i8; 2]| {
        fetch(&place, &sim, range[0], range[1], "").ended(0);
        place.sql("out.db", metadata).remove(0)
    };
    assert_eq!(
        days([1, 1]),
        ["2024-01-01", "2024-01-01", "committed", "[]", "2"]
    );
    assert_eq!(
        days([5, 5]),
        [
            "2024-01-01",
            "2024-01-05",
            "partial",
            r#"[{"partition":"2024-01-02..2024-01-04","from":"2024-01-02","to":"2024-01-04","error":"nobody has fetched it"}]"#,
            "3"
        ]
    );
    let two = days([3, 3]);
    assert!(two[3].contains(r#""partition":"2024-01-02","#), "{two:?}");
    assert!(two[3].contains(r#""partition":"2024-01-04","#), "{two:?}");
    days([2, 2]);
    assert_eq!(days([4, 4])[2..], ["committed", "[]", "10"]);
}

#[test]
fn a_table_that_somebody_has_dropped_has_no_days() {
    let sim = started(sim(data()));
    let place = Place::new();
    fetch(&place, &sim, 1, 5, "").ended(0);
    let store = mixflow::Store::open(place.path("out.db")).unwrap();
    store
        .connection()
        .unwrap()
        .execute_batch("DROP TABLE events")
        .unwrap();
    drop(store);
    fetch(&place, &sim, 2, 2, "").ended(0);
    let days = "SELECT day FROM _mixflow_days";
    assert_eq!(place.sql("out.db", days), [["2024-01-02"]]);
    // Ours takes its records with it.
    place
        .mixflow(&["drop", "events", "--db", "out.db", "--yes"])
        .ended(0);
    assert_eq!(place.sql("out.db", days), Vec::<Vec<String>>::new());
}

#[test]
fn a_day_that_failed_keeps_the_record_of_what_is_there() {
    let place = Place::new();
    let keep = "\n[run]\non_failure = \"keep\"\n";
    let run = |sim: &Simulator| {
        let days = "from = \"2024-01-01\"\nto = \"2024-01-03\"\nwindow_days = 1\n";
        place.run(&pipeline(&[&events(sim, days), SINK, keep])).0
    };
    run(&started(sim(data()))).ended(0);
    let of = "SELECT run_id FROM _mixflow_days WHERE day = DATE '2024-01-02'";
    let first = place.sql("out.db", of);
    let fault = Fault::always(
        Matcher::export_from(date(2024, 1, 2)),
        Action::Status {
            code: 404,
            retry_after: None,
            body: None,
        },
    );
    run(&started(sim(data()).fault(fault))).ended(3);
    assert_eq!(place.sql("out.db", of), first);
    // Nothing is missing now, whatever failed since.
    let metadata = "SELECT status, missing FROM _metadata";
    assert_eq!(place.sql("out.db", metadata), [["committed", "[]"]]);
}

#[test]
fn a_file_of_the_python_tool_is_asked_and_added_to() {
    let sim = started(sim(data()));
    let place = Place::new();
    let store = mixflow::Store::open(place.path("out.db")).unwrap();
    store
        .connection()
        .unwrap()
        .execute_batch(
            "CREATE TABLE _metadata (table_name VARCHAR PRIMARY KEY, type VARCHAR NOT NULL, \
             fetched_at TIMESTAMP NOT NULL, from_date DATE, to_date DATE, \
             row_count INTEGER NOT NULL); \
             CREATE TABLE events (event_name VARCHAR NOT NULL, event_time TIMESTAMP NOT NULL, \
             distinct_id VARCHAR NOT NULL, insert_id VARCHAR PRIMARY KEY, properties JSON); \
             INSERT INTO events VALUES ('A', TIMESTAMP '2024-01-01 10:00:00', 'u', 'a', '{}'); \
             INSERT INTO _metadata VALUES ('events', 'events', TIMESTAMP '2024-01-02 03:00:00', \
             DATE '2024-01-01', DATE '2024-01-01', 1)",
        )
        .unwrap();
    drop(store);
    let tables = place
        .mixflow(&["tables", "--db", "out.db", "--format", "csv"])
        .ended(0);
    assert!(tables.stdout_lossy().contains("events"));
    let metadata = ["metadata", "events", "--db", "out.db", "--format", "json"];
    let known = place.mixflow(&metadata).ended(0).stdout_lossy();
    assert!(known.contains("2024-01-01"), "{known}");
    let days = "from = \"2024-01-05\"\nto = \"2024-01-05\"\n";
    let sink = "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\nmode = \"append\"\n";
    place
        .run(&pipeline(&[&events(&sim, days), sink]))
        .0
        .ended(0);
    let now = "SELECT from_date, to_date, row_count, missing->0->>'partition' FROM _metadata";
    assert_eq!(
        place.sql("out.db", now),
        [["2024-01-01", "2024-01-05", "2", "2024-01-02..2024-01-04"]]
    );
    // Again and again: what replaces a row has the same key.
    fetch(&place, &sim, 1, 1, "").ended(0);
    fetch(&place, &sim, 1, 1, "").ended(0);
    let ids = "SELECT string_agg(insert_id, ' ' ORDER BY insert_id) FROM events";
    assert_eq!(place.sql("out.db", ids), [["a b e"]]);
}

/// Events of two names, on each of three days.
fn two_names() -> Data {
    let mut data = Data::default();
    for day in 1..4 {
        for (name, id) in [("A", "a"), ("B", "b"), ("B", "c")] {
            let line = line(
                name,
                &format!("2024-01-0{day}T10:00:00Z"),
                &format!("{id}{day}"),
            );
            data.add_raw_line(date(2024, 1, day), line.as_bytes());
        }
    }
    data
}

fn named(place: &Place, sim: &Simulator, name: &str, sink: &str) -> Ran {
    let days = format!(
        "from = \"2024-01-01\"\nto = \"2024-01-03\"\nwindow_days = 1\nevents = [\"{name}\"]\n"
    );
    place.run(&pipeline(&[&events(sim, &days), sink])).0
}

#[test]
fn a_pipeline_with_another_filter_does_not_remove_what_is_there() {
    let sim = started(sim(two_names()));
    let place = Place::new();
    named(&place, &sim, "A", SINK).ended(0);
    sim.clear_log();
    named(&place, &sim, "B", SINK)
        .ended(6)
        .says("they were fetched with `events = [\"A\"]`, and this pipeline has `events = [\"B\"]`")
        .says("scope = \"filter\"");
    assert!(sim.requests().is_empty());
    assert_eq!(place.sql("out.db", "SELECT count(*) FROM events"), [["3"]]);
    // The same of an older mixflow, which kept no ledger.
    let store = mixflow::Store::open(place.path("out.db")).unwrap();
    let drop = "DROP VIEW _mixflow_days; DROP TABLE _mixflow_unit_days; \
                DROP TABLE _mixflow_units; DROP TABLE _mixflow_datasets";
    store.connection().unwrap().execute_batch(drop).unwrap();
    std::mem::drop(store);
    named(&place, &sim, "B", SINK)
        .ended(6)
        .says("`events = [\"A\"]`");
    named(&place, &sim, "A", SINK).ended(0);
}

#[test]
fn datasets_that_share_a_table_are_kept_apart() {
    let sim = started(sim(two_names()));
    let place = Place::new();
    let shared = format!("{SINK}scope = \"filter\"\n");
    // The first one was there before anybody thought of sharing.
    named(&place, &sim, "A", SINK).ended(0);
    let counts = "SELECT string_agg(event_name || n, ' ' ORDER BY event_name) FROM \
                  (SELECT event_name, count(*) AS n FROM events GROUP BY ALL)";
    for (name, expected) in [("B", "A3 B6"), ("A", "A3 B6"), ("B", "A3 B6")] {
        named(&place, &sim, name, &shared).ended(0);
        assert_eq!(place.sql("out.db", counts), [[expected]]);
    }
    let days = "SELECT day, sum(rows), count(*) FROM _mixflow_days GROUP BY day ORDER BY day";
    assert_eq!(place.sql("out.db", days)[0], ["2024-01-01", "3", "2"]);
    // What is gone at the server goes from its own rows only.
    let mut fewer = Data::default();
    let a = line("A", "2024-01-02T10:00:00Z", "a2");
    fewer.add_raw_line(date(2024, 1, 2), a.as_bytes());
    sim.set_data(fewer);
    named(&place, &sim, "B", &shared).ended(0);
    assert_eq!(place.sql("out.db", counts), [["A3"]]);
    // Without a scope nobody may touch it.
    named(&place, &sim, "A", SINK)
        .ended(6)
        .says("it has rows of several datasets, which are kept apart");
}
