//! `mixflow catalog`: which properties a table has.

use std::collections::{BTreeMap, BTreeSet};

use insta::assert_snapshot;
use mixflow::core::ErrorKind;
use mixflow_tests::sim::Data;
use serde_json::{Value, json};

use super::query::{ask, filled, told};
use crate::support::{DUCKDB, Place, events, on_a_terminal, pipeline, profiles, sim, started};

/// A place whose `out.db` has a table that was made in SQL.
fn made(sql: &str) -> Place {
    let place = Place::new();
    let store = mixflow::Store::open(place.path("out.db")).unwrap();
    store.connection().unwrap().execute_batch(sql).unwrap();
    store.close().unwrap();
    place
}

/// Four events of which little is alike.
const FOUR: &str = r#"CREATE TABLE events AS FROM (VALUES
    ('Sign Up', '2024-01-01 10:00:00'::TIMESTAMP, '{"$city":"Wien","n":1,"born":"1990-02-28","tags":["a"]}'::JSON),
    ('Sign Up', '2024-01-02 23:59:59', '{"$city":"Graz","n":2.5,"born":"1991-01-01","city":null}'),
    ('Buy', '2024-01-03 00:00:00', '{"$city":"a city whose name is too long for any table","n":3,"ok":true}'),
    ('Buy', NULL, '{"$city":"Wien","n":"3","at":"2024-01-03T12:00:00+02:00"}')
    ) t(event_name, event_time, properties)"#;

#[test]
fn every_property_is_shown_the_fullest_first() {
    assert_snapshot!(told(&made(FOUR), &["catalog"]), @r#"
    ┌──────────┬──────────────────┬──────┬──────────┬───────────────────────────┬────────────┬────────────┐
    │ property │ types            │ fill │ distinct │ example                   │ first_day  │ last_day   │
    ├──────────┼──────────────────┼──────┼──────────┼───────────────────────────┼────────────┼────────────┤
    │ $city    │ text             │  1.0 │        3 │ Wien                      │ 2024-01-01 │ 2024-01-03 │
    │ n        │ int, float, text │  1.0 │        4 │ 1                         │ 2024-01-01 │ 2024-01-03 │
    │ born     │ date             │  0.5 │        2 │ 1990-02-28                │ 2024-01-01 │ 2024-01-02 │
    │ at       │ timestamp        │ 0.25 │        1 │ 2024-01-03T12:00:00+02:00 │ NULL       │ NULL       │
    │ ok       │ bool             │ 0.25 │        1 │ true                      │ 2024-01-03 │ 2024-01-03 │
    │ tags     │ json             │ 0.25 │        1 │ ["a"]                     │ 2024-01-01 │ 2024-01-01 │
    │ city     │                  │  0.0 │        0 │ NULL                      │ NULL       │ NULL       │
    └──────────┴──────────────────┴──────┴──────────┴───────────────────────────┴────────────┴────────────┘
    7 rows
    "#);
}

#[test]
fn the_table_fits_a_terminal_of_80_columns() {
    let place = made(FOUR);
    let args = ["catalog", "--db", "out.db"];
    let Some(shown) = on_a_terminal(&place.command(&args), 80) else {
        return;
    };
    assert_snapshot!(shown.replace('\r', ""), @r#"
    ┌──────────┬──────────────────┬──────┬──────────┬─────────────────┬────────────┐
    │ property │ types            │ fill │ distinct │ example         │ first_day  │
    ├──────────┼──────────────────┼──────┼──────────┼─────────────────┼────────────┤
    │ $city    │ text             │  1.0 │        3 │ Wien            │ 2024-01-01 │
    │ n        │ int, float, text │  1.0 │        4 │ 1               │ 2024-01-01 │
    │ born     │ date             │  0.5 │        2 │ 1990-02-28      │ 2024-01-01 │
    │ at       │ timestamp        │ 0.25 │        1 │ 2024-01-03T12:… │ NULL       │
    │ ok       │ bool             │ 0.25 │        1 │ true            │ 2024-01-03 │
    │ tags     │ json             │ 0.25 │        1 │ ["a"]           │ 2024-01-01 │
    │ city     │                  │  0.0 │        0 │ NULL            │ NULL       │
    └──────────┴──────────────────┴──────┴──────────┴─────────────────┴────────────┘
    7 rows
    no room for last_day
    all of it: add `| less -S`, `--format jsonl` or `--output rows.csv`
    "#);
}

#[test]
fn properties_come_in_every_format() {
    let place = made(FOUR);
    let rows: Value =
        serde_json::from_str(&told(&place, &["catalog", "events", "--format", "json"])).unwrap();
    assert_eq!(
        rows[1],
        json!({
            "property": "n", "types": ["int", "float", "text"], "fill": 1.0, "distinct": 4,
            "first_day": "2024-01-01", "last_day": "2024-01-03", "example": "1",
        })
    );
    assert_eq!(
        rows[6],
        json!({
            "property": "city", "types": [], "fill": 0.0, "distinct": 0,
            "first_day": null, "last_day": null, "example": null,
        })
    );
    let lines = told(&place, &["catalog", "--format", "jsonl"]);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json!(lines), rows);
    let csv = told(&place, &["catalog", "--format", "csv"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(
        lines[0],
        "property,types,fill,distinct,first_day,last_day,example"
    );
    assert_eq!(
        lines[2],
        "n,\"int, float, text\",1.0,4,2024-01-01,2024-01-03,1"
    );
    for name in ["a.parquet", "a.arrow"] {
        ask(&place, &["catalog", "--output", name]).ended(0);
    }
}

#[test]
fn the_properties_of_one_event_are_those_of_its_rows() {
    let place = made(FOUR);
    let shown = told(&place, &["catalog", "--event", "Buy", "--format", "csv"]);
    assert_snapshot!(shown, @r#"
    property,types,fill,distinct,first_day,last_day,example
    $city,text,1.0,2,2024-01-03,2024-01-03,a city whose name is too long for any t…
    n,"int, text",1.0,2,2024-01-03,2024-01-03,3
    at,timestamp,0.5,1,,,2024-01-03T12:00:00+02:00
    ok,bool,0.5,1,2024-01-03,2024-01-03,true
    "#);
    ask(&place, &["catalog", "--event", "Bye' OR true --"])
        .ended(1)
        .says("cannot list the properties of `Bye' OR true --` in `events`")
        .says("no event has that name");
    ask(&place, &["catalog", "--event", "Bux"])
        .ended(1)
        .says("no event has that name, did you mean `Buy`?");
}

/// What a naive program finds in the rows of a table.
fn model(place: &Place) -> BTreeMap<String, (u64, u64, String, String)> {
    let mut found: BTreeMap<String, (u64, BTreeSet<String>, String, String)> = BTreeMap::new();
    let sql = "SELECT event_time::DATE::VARCHAR, properties FROM events";
    for row in place.sql("out.db", sql) {
        let properties: BTreeMap<String, Value> = serde_json::from_str(&row[1]).unwrap();
        for (key, value) in properties {
            let day = row[0].clone();
            let known = found.entry(key).or_default();
            if value.is_null() {
                continue;
            }
            known.0 += 1;
            known.1.insert(value.to_string());
            if known.2.is_empty() || day < known.2 {
                known.2 = day.clone();
            }
            known.3 = known.3.clone().max(day);
        }
    }
    let found = found.into_iter();
    found
        .map(|(key, (filled, values, first, last))| {
            (key, (filled, values.len() as u64, first, last))
        })
        .collect()
}

#[test]
fn the_sample_has_what_a_naive_program_finds_in_it() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    place
        .run(&pipeline(&[&events(&sim, ""), DUCKDB]))
        .0
        .ended(0);
    let rows = told(&place, &["catalog", "--format", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    let expected = model(&place);
    assert!(expected.len() > 20);
    assert_eq!(rows.len(), expected.len());
    for row in rows {
        let name = row["property"].as_str().unwrap();
        let (filled, distinct, first, last) = &expected[name];
        assert_eq!(row["fill"], json!(*filled as f64 / 8_000.0), "{name}");
        let counted = row["distinct"].as_u64().unwrap();
        let error = if *distinct <= 300 {
            0
        } else {
            distinct * 4 / 100
        };
        assert!(
            counted.abs_diff(*distinct) <= error,
            "{name}: {counted} of {distinct}"
        );
        assert_eq!(row["first_day"].as_str().unwrap_or(""), first, "{name}");
        assert_eq!(row["last_day"].as_str().unwrap_or(""), last, "{name}");
    }
}

#[test]
fn profiles_have_the_days_on_which_they_were_seen() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    place
        .run(&pipeline(&[&profiles(&sim, ""), DUCKDB]))
        .0
        .ended(0);
    let rows = told(&place, &["catalog", "profiles", "--format", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    let email = rows.iter().find(|row| row["property"] == "$email").unwrap();
    let seen = "SELECT min(last_seen)::DATE, max(last_seen)::DATE FROM profiles \
                WHERE properties->>'/$email' IS NOT NULL";
    let seen = &place.sql("out.db", seen)[0];
    assert_eq!(json!([email["first_day"], email["last_day"]]), json!(seen));
}

#[test]
fn what_differs_from_an_earlier_catalogue_is_exit_3() {
    let place = made(FOUR);
    ask(&place, &["catalog", "--output", "old.json"]).ended(0);
    let same = told(&place, &["catalog", "--diff", "old.json"]);
    assert_snapshot!(same, @r"
    ┌──────────┬────────┬────────┬───────┐
    │ property │ change │ before │ after │
    ├──────────┼────────┼────────┼───────┤
    └──────────┴────────┴────────┴───────┘
    0 rows
    ");
    let store = mixflow::Store::open(place.path("out.db")).unwrap();
    let change = "UPDATE events SET properties = '{\"new\":1,\"n\":1,\"born\":\"soon\"}'";
    store.connection().unwrap().execute_batch(change).unwrap();
    store.close().unwrap();
    let ran = ask(&place, &["catalog", "--diff", "old.json"]).ended(3);
    assert_eq!(ran.stderr, "");
    assert_snapshot!(ran.stdout_lossy(), @r"
    ┌──────────┬────────┬──────────────────┬───────┐
    │ property │ change │ before           │ after │
    ├──────────┼────────┼──────────────────┼───────┤
    │ $city    │ gone   │ text             │ NULL  │
    │ at       │ gone   │ timestamp        │ NULL  │
    │ born     │ type   │ date             │ text  │
    │ city     │ gone   │                  │ NULL  │
    │ n        │ type   │ int, float, text │ int   │
    │ new      │ new    │ NULL             │ int   │
    │ ok       │ gone   │ bool             │ NULL  │
    │ tags     │ gone   │ json             │ NULL  │
    └──────────┴────────┴──────────────────┴───────┘
    8 rows
    ");
    let ran = ask(
        &place,
        &["catalog", "--diff", "old.json", "--format", "jsonl"],
    )
    .ended(3);
    let first: Value = serde_json::from_str(ran.stdout_lossy().lines().next().unwrap()).unwrap();
    assert_eq!(
        first,
        json!({"property": "$city", "change": "gone", "before": ["text"], "after": null})
    );
}

#[test]
fn a_file_that_is_no_catalogue_is_refused() {
    let place = made(FOUR);
    place.write("old.json", r#"{"property": "a"}"#);
    ask(&place, &["catalog", "--diff", "old.json"])
        .ended(2)
        .says("cannot read the catalogue `old.json`")
        .says("give `--diff` a file that `mixflow catalog --format json` has written");
    ask(&place, &["catalog", "--diff", "none.json"])
        .ended(1)
        .says("cannot read the catalogue `none.json`");
}

#[test]
fn the_extract_that_it_prints_makes_columns_of_those_types() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let source = events(&sim, "");
    place.run(&pipeline(&[&source, DUCKDB])).0.ended(0);
    let rows = told(&place, &["catalog", "--format", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    let extract = told(&place, &["catalog", "--toml"]);
    let typed = DUCKDB.replace("out.db", "typed.db");
    let text = pipeline(&[&source, &extract, &typed]);
    place.write("typed.toml", &text);
    place.mixflow(&["check", "typed.toml"]).ended(0);
    let (ran, _) = place.run(&text);
    // No value is of another type than its column.
    assert!(!ran.ended(0).stderr.contains("are not"));

    let columns = place.mixflow(&["schema", "events", "--db", "typed.db", "--format", "json"]);
    let columns: Vec<Value> = serde_json::from_slice(&columns.ended(0).stdout).unwrap();
    let typed = columns.iter().skip(5);
    let typed = typed.map(|column| column["column_type"].as_str().unwrap());
    let expected = rows.iter().filter_map(|row| {
        let types: Vec<&str> = row["types"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        Some(match types.as_slice() {
            [] => return None,
            ["int"] => "BIGINT",
            ["int", "float"] | ["float"] => "DOUBLE",
            ["bool"] => "BOOLEAN",
            ["timestamp"] => "TIMESTAMP",
            ["date"] => "DATE",
            types if types.contains(&"json") => "JSON",
            _ => "VARCHAR",
        })
    });
    assert_eq!(typed.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    let filled = rows.iter().find(|row| row["property"] == "$city").unwrap();
    let counted = &place.sql("typed.db", "SELECT count(city) FROM events")[0][0];
    assert_eq!(
        filled["fill"],
        json!(counted.parse::<f64>().unwrap() / 8_000.0)
    );
}

#[test]
fn an_extract_is_printed_with_names_that_a_table_can_have() {
    let place = made(FOUR);
    assert_snapshot!(told(&place, &["catalog", "--toml"]), @r#"
    [[transform]]
    type = "extract"
    columns = [
        { name = "city", type = "text", path = "$city" },
        { name = "n", type = "text" },
        { name = "born", type = "date" },
        { name = "at", type = "timestamp" },
        { name = "ok", type = "bool" },
        { name = "tags", type = "json" },
    ]
    "#);
    let place = made("CREATE TABLE events AS SELECT '{\"a\":null}'::JSON AS properties");
    ask(&place, &["catalog", "--toml"])
        .ended(1)
        .says("cannot write an `extract` for `events`")
        .says("no property has a value");
}

#[test]
fn a_table_without_properties_is_refused() {
    let place = made(
        "CREATE TABLE plain AS SELECT 1 AS n; CREATE TABLE nested AS SELECT {'a': 1} AS properties;
         CREATE TABLE nobody AS SELECT '{}'::JSON AS properties",
    );
    ask(&place, &["catalog"])
        .ended(6)
        .says("there is no table `events`");
    ask(&place, &["catalog", "plain"])
        .ended(6)
        .says("cannot list the properties of `plain`")
        .says("it has no column `properties`");
    ask(&place, &["catalog", "nested"])
        .ended(6)
        .says("its column `properties` is STRUCT(a INTEGER), not JSON");
    ask(&place, &["catalog", "nobody", "--event", "x"])
        .ended(6)
        .says("it has no column `event_name`");
}

/// The Python tool writes the same columns; others may have texts, and times
/// with a zone.
#[test]
fn tables_of_other_programs_are_read_too() {
    let place = made(
        r#"CREATE TABLE events AS SELECT 'a' AS event_name,
            '2024-01-01 23:30:00+00'::TIMESTAMPTZ AS event_time, '{"n": NaN, "m": 1}' AS properties
            UNION ALL SELECT 'a', '2024-01-02 00:30:00+00'::TIMESTAMPTZ, '{"n": 1}'"#,
    );
    let ran = ask(&place, &["catalog", "--format", "csv"]).ended(0);
    assert_eq!(
        ran.stderr,
        "warning: the properties of 1 row are not JSON, and are not counted\n"
    );
    assert_snapshot!(ran.stdout_lossy(), @r"
    property,types,fill,distinct,first_day,last_day,example
    n,int,0.5,1,2024-01-02,2024-01-02,1
    ");
}

#[test]
fn properties_past_ten_thousand_are_left_out_with_a_warning() {
    let place = made(
        "CREATE TABLE events AS SELECT ('{\"all\":1,\"key ' || n || '\":1}')::JSON AS properties
         FROM range(12000) t(n)",
    );
    let ran = ask(&place, &["catalog", "--format", "jsonl"]).ended(0);
    assert_eq!(
        ran.stderr,
        "warning: there are more than 10,000 properties; only those that came first are counted\n"
    );
    let rows = ran.stdout_lossy();
    assert_eq!(rows.lines().count(), 10_000);
    let all: Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&all["property"], &all["fill"]),
        (&json!("all"), &json!(1.0))
    );
}

#[test]
fn a_program_gets_the_catalogue_as_values() {
    let place = filled();
    let store = mixflow::Store::open_read_only(place.path("out.db")).unwrap();
    let catalog = mixflow::catalog_of(&store, "EVENTS", None).unwrap();
    assert_eq!(catalog.rows, 300);
    assert!((catalog.properties[0].fill - 1.0).abs() < f64::EPSILON);
    let error = mixflow::catalog_of(&store, "event", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableNotFound);
}
