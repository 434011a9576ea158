//! The decoder against the simulator's model, which parses each record into
//! a tree and knows nothing of the decoder.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use mixflow_core::testing::{counted, unit_context};
use mixflow_tests::sim::{Data, EngageQuery, ExportQuery, Simulator, model};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::http::last_line::LastLine;

const CLOCK: EventClock = EventClock {
    in_ms: false,
    zone: None,
};

fn decode(form: Form, record: &[u8]) -> Result<RecordBatch, String> {
    let mut decoder = Decoder::new(form);
    decoder.push(record)?;
    Ok(decoder.take().expect("a record is a row"))
}

fn text(batch: &RecordBatch, column: usize) -> &str {
    batch.column(column).as_string::<i32>().value(0)
}

fn time(batch: &RecordBatch, column: usize) -> Option<i64> {
    let column = batch
        .column(column)
        .as_primitive::<TimestampMicrosecondType>();
    column.is_valid(0).then(|| column.value(0))
}

/// Decodes an event as the model does; the hash of a missing id is left out.
fn event(record: &[u8]) -> Result<model::Event, String> {
    let batch = decode(Form::Events(CLOCK), record)?;
    let insert_id = text(&batch, 3);
    assert!(!insert_id.is_empty());
    Ok(model::Event {
        event_name: text(&batch, 0).to_owned(),
        event_time_us: time(&batch, 1).expect("an event has a time"),
        distinct_id: text(&batch, 2).to_owned(),
        insert_id: (insert_id != StandIns::default().id(record)).then(|| insert_id.to_owned()),
        properties: model::Properties {
            members: Vec::new(),
            text: text(&batch, 4).to_owned(),
        },
    })
}

fn profile(record: &[u8]) -> Result<model::Profile, String> {
    let batch = decode(Form::Profiles, record)?;
    Ok(model::Profile {
        distinct_id: text(&batch, 0).to_owned(),
        last_seen_us: time(&batch, 1),
        properties: model::Properties {
            members: Vec::new(),
            text: text(&batch, 2).to_owned(),
        },
    })
}

fn expected_event(record: &[u8]) -> Result<model::Event, String> {
    let mut event = model::normalize_event(record, false)?;
    event.properties.members.clear();
    Ok(event)
}

/// Takes the white space of mended properties for what the model says.
fn settled(mut found: model::Properties, expected: &model::Properties) -> model::Properties {
    if model::same_properties(&found.text, &expected.text) {
        found.text.clone_from(&expected.text);
    }
    found
}

fn expected_profile(record: &[u8]) -> Result<model::Profile, String> {
    let mut profile = model::normalize_profile(record)?;
    profile.properties.members.clear();
    Ok(profile)
}

/// The inside of a JSON string, as it may be written.
fn written() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => select(vec![
            "a", "time", "$", " ", "é", "\u{2028}", "😀", "{", "}", "[", ",", ":", "/",
            "\\\"", "\\\\", "\\/", "\\n", "\\u00e9", "\\u0000", "\\ud83d\\ude00", "\\ud83d",
            "\\udc00", "\\ud83d\\u0041", "\\\\ud83d",
        ])
        .prop_map(str::to_owned),
        1 => "[a-zA-Z0-9 .-]{0,12}",
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn string() -> impl Strategy<Value = String> {
    written().prop_map(|text| format!("\"{text}\""))
}

fn a_key() -> impl Strategy<Value = String> {
    prop_oneof![string(), a_name().prop_map(|name| format!("\"{name}\""))]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        select(vec![
            "0",
            "-0",
            "1.10",
            "1E5",
            "1e-7",
            "12345678901234567890123",
            "-1.5e+10"
        ])
        .prop_map(str::to_owned),
    ]
}

/// A JSON value with white space inside.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        select(vec!["null", "true", "false", "[]", "{ }"]).prop_map(str::to_owned),
        number(),
        string(),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(" , "))),
            prop::collection::vec((a_key(), inner), 0..4).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(k, v)| format!("{k}: {v}")).collect();
                format!("{{{}}}", members.join(",\t"))
            }),
        ]
    })
}

/// A time that can be read, or one that cannot.
fn a_time() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (-3_000_000_000_i64..5_000_000_000).prop_map(|n| n.to_string()),
        2 => (0_i64..2_000_000_000, 0_u32..1_000_000).prop_map(|(s, us)| format!("{s}.{us:06}")),
        1 => (0_i64..2_000_000_000).prop_map(|n| format!("\"{n}\"")),
        1 => value(),
    ]
}

/// A member of `properties`: a reserved one, one that looks like it, any.
fn member() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => (select(vec!["time", "\\u0074ime"]), a_time())
            .prop_map(|(key, value)| format!("\"{key}\":{value}")),
        3 => (
            select(vec!["distinct_id", "$insert_id", "Time", "time ", "$insert_i", "event", "$"]),
            value(),
        )
            .prop_map(|(key, value)| format!("\"{key}\":{value}")),
        3 => (string(), value()).prop_map(|(key, value)| format!("{key}:{value}")),
        // Names that come again.
        3 => (a_name(), value()).prop_map(|(key, value)| format!("\"{key}\":{value}")),
    ]
}

/// One of a few names, in one of its forms.
fn a_name() -> impl Strategy<Value = &'static str> {
    select(vec![
        "a",
        "\\u0061",
        "b",
        "\\ud83d",
        "\\ufffd",
        "\\uD83D\\uDE00",
        "😀",
        "",
    ])
}

fn object(members: impl Strategy<Value = Vec<String>>) -> impl Strategy<Value = String> {
    members.prop_map(|members| format!("{{{}}}", members.join(",")))
}

fn an_event() -> impl Strategy<Value = String> {
    let properties =
        (a_time(), prop::collection::vec(member(), 0..7)).prop_map(|(time, mut more)| {
            let place = more.len() / 2;
            more.insert(place, format!("\"time\":{time}"));
            more
        });
    let name = prop_oneof![9 => string(), 1 => value()];
    let more = prop::collection::vec((string(), value()), 0..2);
    (name, object(properties), more, any::<bool>()).prop_map(|(name, properties, more, swap)| {
        let mut members = vec![
            format!("\"event\": {name}"),
            format!("\"properties\" :{properties}"),
        ];
        if swap {
            members.swap(0, 1);
        }
        members.extend(more.iter().map(|(key, value)| format!("{key}:{value}")));
        format!(" {{ {} }} ", members.join(" , "))
    })
}

fn a_profile() -> impl Strategy<Value = String> {
    let seen = prop_oneof![
        select(vec![
            "\"2008-06-09T23:08:40\"",
            "\"2008-06-09T23:08:40.5+02:00\"",
            "\"2008-06-09T23:08:40Z\"",
            "\"last week\"",
            "\"\"",
            "null",
            "7",
        ])
        .prop_map(|text| vec![format!("\"$last_seen\":{text}")]),
        Just(Vec::new()),
        Just(vec![
            r#""$last_seen":"2008-06-09""#.to_owned(),
            r#""$last_se\u0065n":"not any more""#.to_owned(),
        ]),
        Just(vec![
            r#""$last_seen":"not yet""#.to_owned(),
            r#""$last_seen":"2008-06-09""#.to_owned(),
        ]),
    ];
    let others = prop::collection::vec(
        (a_key(), value()).prop_map(|(key, value)| format!("{key}:{value}")),
        0..5,
    );
    let properties = (seen, others).prop_map(|(seen, others)| [others, seen].concat());
    let id = prop_oneof![string(), number()];
    (id, object(properties)).prop_map(|(id, properties)| {
        format!("{{\"$distinct_id\":{id},\"$properties\":{properties}}}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn events_are_what_the_model_says(record in an_event()) {
        let (found, expected) = (event(record.as_bytes()), expected_event(record.as_bytes()));
        prop_assert_eq!(found.is_ok(), expected.is_ok(), "{:?} {:?}", found, expected);
        if let (Ok(mut found), Ok(expected)) = (found, expected) {
            found.properties = settled(found.properties, &expected.properties);
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn profiles_are_what_the_model_says(record in a_profile()) {
        let expected = expected_profile(record.as_bytes()).expect("it is a profile");
        let mut found = profile(record.as_bytes()).expect("it is a profile");
        found.properties = settled(found.properties, &expected.properties);
        prop_assert_eq!(found, expected);
    }

    /// A damaged record is a row or a reject, never a panic, and never another
    /// row than the model's.
    #[test]
    fn damaged_events_are_the_models_or_rejects(
        record in an_event(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut record = record.into_bytes();
        let at = at.index(record.len());
        record[at] = byte;
        let found = event(&record);
        if let Ok(expected) = expected_event(&record) {
            // White space between members may have been what changed.
            let found = found.expect("the model reads it");
            prop_assert_eq!(found.event_name, expected.event_name);
            // The model counts in floats, which below a microsecond is a guess.
            prop_assert!((found.event_time_us - expected.event_time_us).abs() <= 1);
            prop_assert_eq!(found.distinct_id, expected.distinct_id);
            prop_assert_eq!(found.insert_id, expected.insert_id);
        }
        let _ = profile(&record);
        let _ = LastLine::judge(&record, at % 2 == 0);
    }

    #[test]
    fn a_cut_event_is_no_last_line(record in an_event(), at in any::<prop::sample::Index>()) {
        let record = record.trim().as_bytes();
        prop_assert_eq!(LastLine::judge(record, false), LastLine::Whole);
        let cut = &record[..at.index(record.len())];
        prop_assert_ne!(LastLine::judge(cut, false), LastLine::Whole);
    }
}

#[test]
fn the_whole_sample_is_what_the_model_says() {
    let sim = Simulator::builder()
        .data(Data::sample())
        .start()
        .expect("there is a port");
    let days = |first, last| {
        (
            jiff::civil::date(2024, 1, first),
            jiff::civil::date(2024, 1, last),
        )
    };
    let (first, last) = days(1, 14);
    let events = sim.expected_events(&ExportQuery::new(first, last));
    assert_eq!(events.len(), 8_000);
    for record in events {
        assert_eq!(event(&record), expected_event(&record));
    }
    let profiles = sim.expected_profiles(&EngageQuery::default());
    assert!(profiles.len() > 1_900);
    for record in profiles {
        assert_eq!(profile(&record), expected_profile(&record));
    }
}

/// Readers of JSON take the first or the last of a key's values, and refuse a
/// text with half of an emoji.
#[test]
fn what_readers_read_differently_is_mended_and_no_other_byte() {
    let record = |members: &str| format!(r#"{{"event":"a","properties":{{"time":1,{members}}}}}"#);
    for (members, expected) in [
        (r#""a":1,"b":2,"a":3"#, r#"{"a":3,"b":2}"#),
        (r#""a":1,"distinct_id":"x","\u0061":3"#, r#"{"a":3}"#),
        (r#""o":{"a":1,"a":{"b":1,"b":2}}"#, r#"{"o":{"a":{"b":2}}}"#),
        (r#""l":[[{"a":1,"a":2}]]"#, r#"{"l":[[{"a":2}]]}"#),
        (
            r#""a":1,"o":{"a":2,"b":{"a":3}},"l":[{"a":4},{"a":5}]"#,
            r#"{"a":1,"o":{"a":2,"b":{"a":3}},"l":[{"a":4},{"a":5}]}"#,
        ),
        (
            r#""x":"a\ud83d","y":"\ud83d\ude00","n":1.10"#,
            r#"{"x":"a\ufffd","y":"\ud83d\ude00","n":1.10}"#,
        ),
        (r#""\ude00":"\\ud83d""#, r#"{"\ufffd":"\\ud83d"}"#),
        (r#""time":2,"time":3"#, "{}"),
    ] {
        let event = event(record(members).as_bytes()).expect("it is an event");
        assert_eq!(event.properties.text, expected, "{members}");
    }
    let raw = record(r#""a":1,"a":"\ud83d""#);
    let batch = decode(Form::Raw, raw.as_bytes()).expect("it is passed on");
    assert_eq!(batch.column(0).as_binary::<i32>().value(0), raw.as_bytes());
}

#[test]
fn more_keys_than_are_remembered_are_looked_at_again() {
    let mut members: Vec<String> = (0..5_000).map(|n| format!("\"k{n}\":{n}")).collect();
    let text = members.join(",");
    let record = |text: &str| format!(r#"{{"event":"a","properties":{{"time":1,{text}}}}}"#);
    let found = event(record(&text).as_bytes()).expect("it is an event");
    assert_eq!(found.properties.text, format!("{{{text}}}"));
    members.push(r#""k4999":"last""#.to_owned());
    let found = event(record(&members.join(",")).as_bytes()).expect("it is an event");
    assert!(
        found
            .properties
            .text
            .ends_with(r#","k4998":4998,"k4999":"last"}"#)
    );
}

#[test]
fn bytes_that_are_no_text_are_repaired_and_nothing_else() {
    // Half a character in a text, and a tab that should have been escaped.
    let record = b"{\"event\":\"a\xff\",\"properties\":{\"time\":1,\"x\":\"b\tc\\n\",\"n\":1.10}}";
    let event = event(record).expect("it can be repaired");
    assert_eq!(event.event_name, "a\u{fffd}");
    assert_eq!(event.properties.text, r#"{"x":"b\u0009c\n","n":1.10}"#);
    assert_eq!(event.insert_id, None);
}

#[test]
fn reasons_of_rejects_say_what_is_wrong() {
    let reason = |record: &str| event(record.as_bytes()).expect_err("it is a reject");
    for (record, expected) in [
        ("{}", "there is no `event`"),
        (
            r#"{"event":1,"properties":{"time":1}}"#,
            "`event` is not a text",
        ),
        (r#"{"event":"a"}"#, "there is no `properties` object"),
        (
            r#"{"event":"a","properties":[]}"#,
            "there is no `properties` object",
        ),
        (r#"{"event":"a","properties":{}}"#, "there is no `time`"),
        (
            r#"{"event":"a","properties":{"time":"noon"}}"#,
            "`time` cannot be read: `\"noon\"`",
        ),
        (
            r#"{"event":"a","properties":{"time":1}"#,
            "it is not JSON at byte 36",
        ),
        ("[]", "it is not JSON at byte 0"),
    ] {
        let found = reason(record);
        assert!(found.starts_with(expected), "{record}: {found}");
    }
    let reason = profile(b"{\"$properties\":{}}").expect_err("it is a reject");
    assert_eq!(reason, "there is no `$distinct_id`");
}

#[test]
fn raw_records_are_not_looked_at() {
    let record = b"\xff not JSON";
    let batch = decode(Form::Raw, record).expect("it is passed on");
    assert_eq!(batch.column(0).as_binary::<i32>().value(0), record);
}

#[test]
fn the_largest_version_and_the_bytes_of_records_are_counted() {
    let (cx, _told) = unit_context();
    let mut decoder = Decoder::new(Form::Events(EventClock::UTC_SECONDS));
    let mut bytes = 0;
    for version in ["7", "1705276123456", "12", r#""x""#] {
        let record = format!(
            r#"{{"event":"a","properties":{{"time":1,"mp_processing_time_ms":{version}}}}}"#
        );
        decoder.push(record.as_bytes()).expect("it can be read");
        bytes += record.len() as u64;
    }
    decoder.push(b"{}").expect_err("no event");
    let rows = decoder.take_counted(&cx).expect("there are rows");
    assert_eq!(rows.num_rows(), 4);
    let counted = counted(&cx);
    assert_eq!(counted.latest_version, Some(1_705_276_123_456));
    assert_eq!(counted.bytes, Some(bytes));
}
