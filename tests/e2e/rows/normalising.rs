//! Odd records on their way through everything.

use jiff::civil::date;
use mixflow_tests::sim::{Data, EngageQuery, ExportQuery};

use crate::rows::form::{
    Event, Profile, assert_same, expected_events, expected_profiles, in_lines, in_table,
};
use crate::support::{DUCKDB, Place, STDOUT, events, pipeline, profiles, sim, started};

const DAY: &str = "from = \"2024-01-01\"\nto = \"2024-01-01\"";

/// Members of `properties` beside a time; each is one record.
const ODD: [&str; 27] = [
    r#""time":1704067200"#,
    r#""time":1704067200.5"#,
    r#""time":"1704067200""#,
    r#""time":1704067200,"distinct_id":42"#,
    r#""time":1704067200,"distinct_id":1E5"#,
    r#""time":1704067200,"distinct_id":null"#,
    r#""time":1704067200,"distinct_id":"""#,
    r#""time":1704067200,"distinct_id":12345678901234567890123"#,
    r#""time":1704067200,"$insert_id":"i""#,
    r#""time":1704067200,"$insert_id":7"#,
    r#""$insert_id":null,"time":1704067200"#,
    r#""a":1,"time":1704067200,"b":2"#,
    r#""a":1.10,"b":1E5,"c":12345678901234567890,"time":1704067200"#,
    r#""":1,"event":2,"properties":{"time":3},"Time":4,"time":1704067200"#,
    r#""a":1,"a":2,"time":1704067200"#,
    r#""time":1,"time":1704067200"#,
    r#""\u0074ime":1704067200,"x":"\u0000""#,
    r#""time":1704067200,"nested":{"time":1,"distinct_id":[{"$insert_id":2}]}"#,
    "\"time\":1704067200,\"s\":\"\u{2028}\u{2029}\u{85}\"",
    r#""time":1704067200,"cut":"\ud83d""#,
    r#""time":1704067200,"cut\ude00":["\ud83d\ude00\ud83d"],"not":"\\ud83d""#,
    r#""time":1704067200,"\u0061":{"b":1,"c":[{"d":1,"d":2}],"b":3},"x":0,"a":{"e":1,"e":{"f":[1,2]}}"#,
    r#""time":1704067200123"#,
    r#""time":"1704067200123""#,
    r#""time":1.704067200123e12"#,
    r#" "time" : 1704067200 , "a":[ 1 , 2 ] "#,
    r#""time":-1704067200.000001,"z":"before 1970""#,
];

fn odd_events() -> Data {
    let mut data = Data::default();
    for (n, members) in ODD.iter().enumerate() {
        let line = format!("{{\"event\":\"e{n} \\u00e9\",\"properties\":{{{members}}}}}");
        data.add_raw_line(date(2024, 1, 1), line);
    }
    data
}

/// Blanks out the ids that the model leaves open, after a look at them.
fn without_hashes(mut rows: Vec<Event>, expected: &[Event]) -> Vec<Event> {
    for (row, expected) in rows.iter_mut().zip(expected) {
        if expected.insert_id.is_empty() {
            let is_hash = row.insert_id.len() >= 16
                && row.insert_id.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(is_hash, "{row:?}");
            row.insert_id.clear();
        }
    }
    rows
}

#[test]
fn odd_records_are_what_the_model_says() {
    let sim = started(sim(odd_events()));
    let query = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 1));
    let expected = expected_events(&sim, &query);
    let place = Place::new();
    let mut hashes = Vec::new();
    for _ in 0..2 {
        let (ran, report) = place.run(&pipeline(&[&events(&sim, DAY), STDOUT]));
        assert_eq!(report["rejected"], 0);
        let rows: Vec<Event> = in_lines(&ran.ended(0).stdout);
        hashes.push(
            rows.iter()
                .map(|row| row.insert_id.clone())
                .collect::<Vec<_>>(),
        );
        assert_same(&without_hashes(rows, &expected), &expected);
    }
    // A hash of the bytes is the same on every run, and another for each record.
    assert_eq!(hashes[0], hashes[1]);
    let mut different = hashes.remove(0);
    different.sort();
    different.dedup();
    assert_eq!(different.len(), ODD.len());

    place
        .run(&pipeline(&[&events(&sim, DAY), DUCKDB]))
        .0
        .ended(0);
    let rows = in_table(&place.path("out.db"), "events");
    assert_same(&without_hashes(rows, &expected), &expected);
    let valid = place.sql(
        "out.db",
        "SELECT count(*) FROM events WHERE json_valid(properties)",
    );
    assert_eq!(valid, [[ODD.len().to_string()]]);
}

#[test]
fn bodies_in_odd_dress_are_the_same_rows() {
    use mixflow_tests::sim::{Action, Fault, Matcher};
    let query = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 1));
    for action in [
        Action::Crlf,
        Action::Bom,
        Action::BlankLines,
        Action::NoFinalNewline,
    ] {
        let sim =
            started(sim(odd_events()).fault(Fault::always(Matcher::export(), action.clone())));
        let expected = expected_events(&sim, &query);
        let (ran, _) = Place::new().run(&pipeline(&[&events(&sim, DAY), STDOUT]));
        eprintln!("{action:?}");
        let rows = in_lines(&ran.ended(0).stdout);
        // A hash of the bytes is one of the record's, whatever ends its line.
        assert_same(&without_hashes(rows, &expected), &expected);
    }
}

#[test]
fn a_line_longer_than_any_buffer_is_a_row() {
    let long = "x".repeat(3 << 20);
    let mut data = odd_events();
    let line = format!(r#"{{"event":"long","properties":{{"time":1704067200,"x":"{long}"}}}}"#);
    data.add_raw_line(date(2024, 1, 1), line);
    let sim = started(sim(data));
    let place = Place::new();
    place
        .run(&pipeline(&[&events(&sim, DAY), DUCKDB]))
        .0
        .ended(0);
    let length = place.sql(
        "out.db",
        "SELECT length(properties->>'x') FROM events WHERE event_name = 'long'",
    );
    assert_eq!(length, [[(3 << 20).to_string()]]);
}

#[test]
fn odd_profiles_are_what_the_model_says() {
    let mut data = Data::default();
    for (n, properties) in [
        r#"{"$last_seen":"2008-06-09T23:08:40"}"#,
        r#"{"$last_seen":"2008-06-09T23:08:40.123456"}"#,
        r#"{"a":1,"$last_seen":"2008-06-09T23:08:40+02:00","b":2}"#,
        r#"{"$last_seen":"2008-06-09T23:08:40Z"}"#,
        r#"{"$last_seen":"last week","x":1}"#,
        r#"{"$last_seen":""}"#,
        r#"{"$last_seen":null}"#,
        r#"{"$last_seen":1213052920}"#,
        r"{}",
        r#"{"deep":{"$last_seen":"2008-06-09T23:08:40"},"n":1.10}"#,
    ]
    .iter()
    .enumerate()
    {
        data.add_profile(format!(
            r#"{{"$distinct_id":{n},"$properties":{properties}}}"#
        ));
        data.add_profile(format!(
            r#"{{"$properties":{properties},"$distinct_id":"id \u00e9 {n}"}}"#
        ));
    }
    let sim = started(sim(data).page_size(7));
    let expected = expected_profiles(&sim, &EngageQuery::default());
    let place = Place::new();
    let (ran, _) = place.run(&pipeline(&[&profiles(&sim, ""), STDOUT]));
    assert_same(&in_lines::<Profile>(&ran.ended(0).stdout), &expected);
    place
        .run(&pipeline(&[&profiles(&sim, ""), DUCKDB]))
        .0
        .ended(0);
    assert_same(
        &in_table::<Profile>(&place.path("out.db"), "profiles"),
        &expected,
    );
}

/// A project of 2019 in California: its `time` is the wall clock as if it were
/// UTC, and its days are the wall clock's.
#[test]
fn a_legacy_projects_times_are_converted_with_its_zones_rules() {
    let at = |day: u8, hour: u8| -> i64 {
        let time = format!("2024-03-{day:02}T{hour:02}:30:00Z");
        time.parse::<jiff::Timestamp>().unwrap().as_second()
    };
    let mut data = Data::default();
    // The clocks go forward on 10 March 2024 at 2:00.
    for (day, hour) in [(9, 0), (9, 23), (10, 1), (10, 2), (10, 3), (10, 23)] {
        let time = at(day, hour);
        let line = format!(
            r#"{{"event":"{day} {hour}:30","properties":{{"time":{time},"$insert_id":"{time}"}}}}"#
        );
        data.add_event(line).unwrap();
    }
    let sim = started(sim(data));
    let place = Place::new();
    let zone = "timezone = \"US/Pacific\"\nwindow_days = 1\n";
    let source = |first: u8, last: u8| {
        let days = format!("from = \"2024-03-{first:02}\"\nto = \"2024-03-{last:02}\"\n");
        events(&sim, &(days + zone))
    };
    let sink = format!("{DUCKDB}mode = \"replace_window\"\n");
    let table = || {
        place.sql("out.db", "SELECT event_name, CAST(event_time AS VARCHAR) FROM events ORDER BY event_time, event_name")
    };
    place.run(&pipeline(&[&source(9, 10), &sink])).0.ended(0);
    let expected = [
        ["9 0:30", "2024-03-09 08:30:00"],
        ["9 23:30", "2024-03-10 07:30:00"],
        ["10 1:30", "2024-03-10 09:30:00"],
        // There was no 2:30; it is half an hour after 1:59.
        ["10 2:30", "2024-03-10 10:30:00"],
        ["10 3:30", "2024-03-10 10:30:00"],
        ["10 23:30", "2024-03-11 06:30:00"],
    ];
    assert_eq!(table(), expected);
    // A day is replaced from its midnight to the next, in its zone.
    place.run(&pipeline(&[&source(10, 10), &sink])).0.ended(0);
    assert_eq!(table(), expected);
    place.run(&pipeline(&[&source(9, 9), &sink])).0.ended(0);
    assert_eq!(table(), expected);
}
