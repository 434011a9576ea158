//! Columns that make themselves: `extract` with `columns = "auto"`.

use mixflow_tests::sim::{Data, Simulator};
use serde_json::Value;

use crate::support::{Place, Ran, STDOUT, events, pipeline, sim, started, workers};

const AUTO: &str = "[[transform]]\ntype = \"extract\"\ncolumns = \"auto\"\n";

/// Events of some days of January: the properties of each, beside the four of
/// every event.
fn january(days: &[(u32, &[&str])]) -> Simulator {
    let lines = days.iter().flat_map(|(day, properties)| {
        properties.iter().enumerate().map(move |(n, properties)| {
            let time = 1_704_067_200 + (day - 1) * 86_400 + n as u32;
            format!(
                r#"{{"event":"Seen","properties":{{"time":{time},"distinct_id":"ann","$insert_id":"{day}-{n}",{properties}}}}}"#
            )
        })
    });
    started(sim(Data::from_lines(lines, Vec::<String>::new()).unwrap()))
}

fn run(
    place: &Place,
    sim: &Simulator,
    days: (u32, u32),
    transform: &str,
    sink: &str,
) -> (Ran, Value) {
    let (first, last) = days;
    let source = events(
        sim,
        &format!("from = \"2024-01-{first:02}\"\nto = \"2024-01-{last:02}\"\nwindow_days = 1\n"),
    );
    place.run(&pipeline(&[&source, transform, sink, &workers(3)]))
}

fn duckdb(mode: &str) -> String {
    format!("[sink]\ntype = \"duckdb\"\npath = \"out.db\"\nmode = \"{mode}\"\n")
}

fn parquet(path: &str, mode: &str) -> String {
    format!("[sink]\ntype = \"parquet\"\npath = \"{path}\"\nmode = \"{mode}\"\n")
}

/// Returns the columns behind our own, each as `name TYPE`.
fn columns(place: &Place, from: &str) -> Vec<String> {
    let sql = format!("SELECT column_name || ' ' || column_type FROM (DESCRIBE FROM {from})");
    let mut columns = place.sql("out.db", &sql).concat();
    columns.retain(|column| !column.starts_with("date "));
    columns.split_off(5)
}

#[test]
fn properties_of_the_first_day_with_rows_are_columns_and_new_ones_are_added() {
    let sim = january(&[
        (
            2,
            &[
                r#""plan":"pro","seats":3,"$city":"Oslo","score":1.5,"paid":true,"born":"2001-02-03""#,
                r#""plan":"free","seats":4,"City":"Rome","at":"2024-01-02T03:04:05+01:00","cart":{"n":1},"none":null"#,
                r#""plan":"pro","seats":5,"$city":"Bern""#,
            ],
        ),
        (
            3,
            &[
                r#""plan":7,"seats":2.5,"late":"x""#,
                r#""seats":9,"late":"y""#,
            ],
        ),
    ]);
    let place = Place::new();
    // The first of January has no rows.
    run(&place, &sim, (1, 2), AUTO, &duckdb("create"))
        .0
        .ended(0);
    let first = [
        "plan VARCHAR",
        "seats BIGINT",
        "city VARCHAR",
        "City_2 VARCHAR",
        "at TIMESTAMP",
        "born DATE",
        "cart JSON",
        "paid BOOLEAN",
        "score DOUBLE",
    ];
    assert_eq!(columns(&place, "events"), first);
    let all = "SELECT plan, seats, city, city_2, \"at\", born, cart, paid, score FROM events ORDER BY insert_id";
    let null = || "NULL".to_owned();
    let rows = place.sql("out.db", all);
    assert_eq!(rows[0][..3], ["pro", "3", "Oslo"]);
    assert_eq!(
        rows[1][3..7],
        [
            "Rome".to_owned(),
            "2024-01-02T02:04:05".to_owned(),
            null(),
            "{\"n\":1}".to_owned()
        ]
    );
    // All of it is in the JSON still.
    let json = place.sql(
        "out.db",
        "SELECT properties FROM events ORDER BY insert_id LIMIT 1",
    );
    assert!(json[0][0].contains("\"seats\":3"), "{json:?}");

    let (ran, report) = run(&place, &sim, (3, 3), AUTO, &duckdb("append"));
    ran.ended(0)
        .says("values that are not int, so null in the column `seats`");
    let warning =
        "values that are not int, so null in the column `seats` and left in `properties`: 1";
    assert_eq!(report["warnings"], serde_json::json!([warning]));
    let second = [&first[..], &["late VARCHAR"]].concat();
    assert_eq!(columns(&place, "events"), second);
    let added = place.sql(
        "out.db",
        "SELECT plan, seats, late FROM events ORDER BY event_time",
    );
    assert_eq!(added[2], ["pro".to_owned(), "5".to_owned(), null()]);
    assert_eq!(added[3], ["7".to_owned(), null(), "x".to_owned()]);
    assert_eq!(added[4], [null(), "9".to_owned(), "y".to_owned()]);
}

#[test]
fn names_stay_whatever_is_fuller_later() {
    let more = |city: &str, other: &str| format!(r#""{city}":"a","{other}":"b""#);
    let first = [more("$city", "x"), more("$city", "x"), more("city", "x")];
    let later = [more("city", "y"), more("city", "y"), more("$city", "y")];
    let (first, later) = (
        first.each_ref().map(|s| &**s),
        later.each_ref().map(|s| &**s),
    );
    let sim = january(&[(1, &first), (2, &later)]);
    let place = Place::new();
    let parquet_file = format!("'{}'", place.path("out.parquet").display());
    for (make, from) in [
        (duckdb as fn(&str) -> String, "events"),
        (|mode| parquet("out.parquet", mode), &parquet_file),
    ] {
        run(&place, &sim, (1, 1), AUTO, &make("create")).0.ended(0);
        let before = columns(&place, from);
        run(
            &place,
            &sim,
            (2, 2),
            AUTO,
            &(make("replace") + "allow_shrink = true\n"),
        )
        .0
        .ended(0);
        let mut after = columns(&place, from);
        after.sort();
        assert_eq!(before, ["x VARCHAR", "city VARCHAR", "city_2 VARCHAR"]);
        assert_eq!(after, ["city VARCHAR", "city_2 VARCHAR", "y VARCHAR"]);
        let counted = place.sql(
            "out.db",
            &format!("SELECT count(city), count(city_2) FROM {from}"),
        );
        assert_eq!(counted.concat(), ["1", "2"], "{from}");
    }
    // Who drops the table begins anew.
    place
        .mixflow(&["drop", "events", "--yes", "--db", "out.db"])
        .ended(0);
    run(&place, &sim, (2, 2), AUTO, &duckdb("create"))
        .0
        .ended(0);
    let counted = place.sql("out.db", "SELECT count(city), count(city_2) FROM events");
    assert_eq!(counted.concat(), ["2", "1"]);
}

#[test]
fn folders_keep_their_columns_and_name_none_after_their_days() {
    let sim = january(&[
        (1, &[r#""date":"2020-01-01","n":1"#]),
        (2, &[r#""n":2.5,"m":true"#]),
        (3, &[r#""m":false"#]),
    ]);
    let place = Place::new();
    let into = parquet("out", "replace_window");
    run(&place, &sim, (1, 1), AUTO, &into).0.ended(0);
    run(&place, &sim, (2, 3), AUTO, &into)
        .0
        .ended(0)
        .says("not int");
    drop(mixflow_sink_duckdb::Store::open(place.path("out.db")).unwrap());
    let files = place.path("out/*/*.parquet");
    let from = format!("read_parquet('{}', union_by_name = true)", files.display());
    assert_eq!(
        columns(&place, &from),
        ["date_2 DATE", "n BIGINT", "m BOOLEAN"]
    );
    let rows = place.sql(
        "out.db",
        &format!("SELECT n, m FROM {from} ORDER BY event_time"),
    );
    assert_eq!(rows, [["1", "NULL"], ["NULL", "true"], ["NULL", "false"]]);
    // The first day again, now with all columns.
    run(&place, &sim, (1, 1), AUTO, &into).0.ended(0);
    assert_eq!(
        columns(&place, &from),
        ["date_2 DATE", "n BIGINT", "m BOOLEAN"]
    );
}

#[test]
fn odd_keys_have_columns_and_names_of_ours_are_taken() {
    let sim = january(&[
        (
            1,
            &[r#""_mixflow_dataset":"x","":1,"a\"b":2,"Event_Name":3,"a b":4,"größe":5"#],
        ),
        (2, &[r#""_mixflow_dataset":"y""#]),
    ]);
    let place = Place::new();
    let into = duckdb("replace_window") + "scope = \"filter\"\n";
    run(&place, &sim, (1, 1), AUTO, &into).0.ended(0);
    run(&place, &sim, (2, 2), AUTO, &into).0.ended(0);
    assert_eq!(
        columns(&place, "events"),
        [
            "_ BIGINT",
            "Event_Name_2 BIGINT",
            "_mixflow_dataset_2 VARCHAR",
            "a_b BIGINT",
            "a_b_2 BIGINT",
            "größe BIGINT",
            "_mixflow_dataset VARCHAR",
        ]
    );
    let rows = place.sql(
        "out.db",
        "SELECT _mixflow_dataset_2, a_b, a_b_2 FROM events ORDER BY event_time",
    );
    assert_eq!(rows, [["x", "4", "2"], ["y", "NULL", "NULL"]]);
    let listed = AUTO.replace(
        "\"auto\"",
        "[{ name = \"_mixflow_dataset\", type = \"int\" }]",
    );
    run(&place, &sim, (1, 1), &listed, &into)
        .0
        .ended(2)
        .says("is mixflow's own");
}

#[test]
fn columns_that_were_listed_go_on_as_they_were() {
    let sim = january(&[
        (1, &[r#""$city":"Oslo","cart":{"n":1}"#]),
        (2, &[r#""$city":"Rome","cart":{"n":2},"town":"no""#]),
    ]);
    let place = Place::new();
    let listed = "[[transform]]\ntype = \"extract\"\ncolumns = [{ name = \"town\", path = \"$city\", type = \"text\" }, { name = \"items\", path = \"cart.n\", type = \"int\" }]\n";
    run(&place, &sim, (1, 1), listed, &duckdb("create"))
        .0
        .ended(0);
    run(&place, &sim, (2, 2), AUTO, &duckdb("append"))
        .0
        .ended(0);
    assert_eq!(
        columns(&place, "events"),
        [
            "town VARCHAR",
            "items BIGINT",
            "cart JSON",
            "town_2 VARCHAR"
        ]
    );
    let rows = place.sql(
        "out.db",
        "SELECT town, items, town_2 FROM events ORDER BY event_time",
    );
    assert_eq!(rows, [["Oslo", "1", "NULL"], ["Rome", "2", "no"]]);
}

#[test]
fn there_are_as_many_columns_as_are_wanted() {
    let sim = january(&[(1, &[r#""a":1,"b":1,"c":1"#, r#""a":1,"b":1"#, r#""a":1"#])]);
    let lines = |more: &str| -> Vec<Value> {
        let place = Place::new();
        let ran = run(&place, &sim, (1, 1), &format!("{AUTO}{more}"), STDOUT)
            .0
            .ended(0);
        let text = ran.stdout_lossy();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let keys = |line: &Value| -> Vec<String> {
        line.as_object().unwrap().keys().skip(5).cloned().collect()
    };
    assert_eq!(keys(&lines("")[0]), ["a", "b", "c"]);
    assert_eq!(keys(&lines("min_fill = 0.5")[0]), ["a", "b"]);
    assert_eq!(keys(&lines("max_columns = 1")[0]), ["a"]);
    let removed = lines("max_columns = 1\nremove = true");
    assert_eq!(removed[0]["properties"].to_string(), r#"{"b":1,"c":1}"#);
    assert_eq!(removed[2]["properties"].to_string(), "{}");
}

#[test]
fn what_is_wrong_is_told_before_any_request() {
    let sim = january(&[]);
    let place = Place::new();
    let refused = |transform: &str| {
        let source = events(&sim, "from = \"2024-01-01\"\nto = \"2024-01-01\"\n");
        place.write("t.toml", &pipeline(&[&source, transform, STDOUT]));
        place.mixflow(&["check", "t.toml"]).ended(2)
    };
    let select = "[[transform]]\ntype = \"select\"\ndrop = [\"properties\"]\n";
    refused(&format!("{AUTO}{select}")).says("known only when rows are there");
    refused(&AUTO.replace("auto", "all")).says("expected `\"auto\"`, or a list of columns");
    refused(&format!("{AUTO}max_columns = 0\nmin_fill = 2"))
        .says("from 0 to 1")
        .says("leave the transform out");
    let listed = AUTO.replace("\"auto\"", "[{ name = \"a\", type = \"int\" }]");
    refused(&format!("{listed}max_columns = 3")).says("goes with `columns = \"auto\"` alone");
    assert!(sim.requests().is_empty());
}
