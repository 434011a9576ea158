use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::date;
use proptest::prelude::*;
use serde_json::Value;

use super::super::properties::MOST_PROPERTIES;
use super::*;

fn count(census: &mut Census, rows: &[&str]) {
    for (n, json) in rows.iter().enumerate() {
        census.count(n as u64, Some(n as i32), Some(json));
    }
}

fn catalog(rows: &[&str]) -> Catalog {
    let mut census = Census::default();
    count(&mut census, rows);
    census.finish()
}

fn words(catalog: &Catalog) -> Vec<String> {
    let properties = catalog.properties.iter().map(|one| {
        let types: Vec<String> = one.types.iter().map(ToString::to_string).collect();
        let fill = one.fill * catalog.rows as f64;
        format!(
            "{} {} {fill} {}",
            one.property,
            types.join("+"),
            one.distinct
        )
    });
    properties.collect()
}

#[test]
fn properties_come_with_all_that_is_known_the_fullest_first() {
    let catalog = catalog(&[
        r#"{"b":null,"$city":"Wien","n":1}"#,
        r#"{"n":2.5,"$city":"Wien","list":[1,{"x":2}]}"#,
        r#"{"n":1,"a":true}"#,
        r#"{"n":"x\ty"}"#,
    ]);
    assert_eq!(
        words(&catalog),
        [
            "n int+float+text 4 3",
            "$city text 2 1",
            "a bool 1 1",
            "list json 1 1",
            "b  0 0",
        ]
    );
    let days = |n: usize| {
        let one = &catalog.properties[n];
        (one.first_day, one.last_day, one.example.as_deref())
    };
    let day = |day| Some(date(1970, 1, day));
    assert_eq!(days(0), (day(1), day(4), Some("1")));
    assert_eq!(days(1), (day(1), day(2), Some("Wien")));
    assert_eq!(days(3), (day(2), day(2), Some(r#"[1,{"x":2}]"#)));
    assert_eq!(days(4), (None, None, None));
}

#[test]
fn only_the_last_of_a_key_that_is_there_twice_counts() {
    let once = catalog(&[
        r#"{"a":1,"b":2,"a":"x","\u0061":null}"#,
        r#"{"b":1,"b":"y","a":1}"#,
    ]);
    assert_eq!(words(&once), ["b int+text 2 2", "a int 1 1"]);
}

#[test]
fn what_is_no_object_has_no_properties_and_what_is_no_json_is_told() {
    let catalog = catalog(&["[1]", "null", r#"{"a":1,"b"#, r#"{"a":NaN}"#, r#"{"a":1}"#]);
    assert_eq!((catalog.rows, catalog.unreadable), (5, 2));
    assert_eq!(words(&catalog), ["a int 1 1"]);
}

#[test]
fn one_property_too_many_is_told_and_the_others_are_counted_in_all_rows() {
    for (keys, is_cut) in [(MOST_PROPERTIES - 1, false), (MOST_PROPERTIES, true)] {
        let mut first = Census::default();
        let mut second = first.beside();
        count(&mut first, &[r#"{"all":1}"#]);
        for n in 0..keys {
            second.count(1, None, Some(&format!("{{\"key {n}\":1,\"all\":1}}")));
        }
        first.merge(second);
        let catalog = first.finish();
        assert_eq!(catalog.is_cut, is_cut);
        assert_eq!(catalog.properties.len(), MOST_PROPERTIES);
        let all = &catalog.properties[0];
        assert_eq!((&*all.property, all.fill), ("all", 1.0));
    }
}

#[test]
fn a_catalogue_is_compared_by_names_and_types() {
    let new = catalog(&[r#"{"a":1,"b":"x","c":1}"#]);
    let earlier = r#"[{"property":"a","types":["int"],"fill":0.5},
        {"property":"b","types":["int","text"]},{"property":"d","types":[]}]"#;
    let earlier: Vec<KnownProperty> = serde_json::from_str(earlier).expect("they are known");
    let differences = new.differences(&earlier);
    let words: Vec<String> = differences
        .iter()
        .map(|one| {
            format!(
                "{} {} {:?} {:?}",
                one.property, one.change, one.before, one.after
            )
        })
        .collect();
    assert_eq!(
        words,
        [
            "b type Some([Int, Text]) Some([Text])",
            "c new None Some([Int])",
            "d gone Some([]) None",
        ]
    );
    let same: Vec<KnownProperty> = new
        .properties
        .iter()
        .map(|one| KnownProperty {
            property: one.property.clone(),
            types: one.types.clone(),
        })
        .collect();
    assert_eq!(new.differences(&same), []);
}

#[test]
fn columns_are_named_and_typed_after_properties() {
    let catalog = catalog(&[
        r#"{"plan":1,"$city":"Wien","city":"Linz","a.b":[1],"n":1,"say \"hi\"":true,"${HOME}":1}"#,
        r#"{"plan":1.5,"$city":"Graz","n":"x","event_name":"2024-01-31","none":null}"#,
    ]);
    let toml = catalog
        .extract_toml(&["event_name"])
        .expect("there are some");
    check_toml(&toml);
    assert_eq!(self::catalog(&[r#"{"a":null}"#]).extract_toml(&[]), None);
}

#[track_caller]
fn check_toml(toml: &str) {
    let expected = r#"[[transform]]
type = "extract"
columns = [
    { name = "city", type = "text", path = "$city" },
    { name = "n", type = "text" },
    { name = "plan", type = "float" },
    # no column of ${HOME}: `${` stands for a variable
    { name = "a_b", type = "json", path = '"a.b"' },
    { name = "city_2", type = "text", path = "city" },
    { name = "event_name_2", type = "date", path = "event_name" },
    { name = "say__hi_", type = "bool", path = '"say ""hi"""' },
]
"#;
    assert_eq!(toml, expected);
}

/// Values, written as serde_json would.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-2.0..2.0_f64).prop_map(Value::from),
        "[a\"\\\\é\u{1}]{0,3}".prop_map(Value::from),
        prop::sample::select(vec!["2024-01-31", "2024-01-31T12:00:00Z", "9999-12-31"])
            .prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..2).prop_map(Value::from),
        prop::collection::btree_map("[ab]", any::<bool>(), 0..2)
            .prop_map(|map| map.into_iter().collect::<Value>()),
    ]
}

/// The naive way: a tree for each row, a set for each property.
fn model(rows: &[BTreeMap<String, Value>]) -> BTreeMap<String, (usize, usize, Vec<String>)> {
    let mut values: BTreeMap<&String, Vec<&Value>> = BTreeMap::new();
    for (key, value) in rows.iter().flatten() {
        values.entry(key).or_default().push(value);
    }
    let known = values.into_iter().map(|(key, mut values)| {
        values.retain(|value| !value.is_null());
        let distinct: BTreeSet<String> = values.iter().map(|value| value.to_string()).collect();
        (key.clone(), (values.len(), distinct.len(), types(&values)))
    });
    known.collect()
}

fn types(values: &[&Value]) -> Vec<String> {
    let texts: Vec<&str> = values.iter().filter_map(|value| value.as_str()).collect();
    let all = |test: fn(&str) -> bool| texts.iter().all(|text| test(text));
    let of_texts = if all(|text| text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()) {
        "date"
    } else if all(|text| super::super::time::timestamp(text).is_some()) {
        "timestamp"
    } else {
        "text"
    };
    let any = |test: fn(&Value) -> bool| values.iter().any(|value| test(value));
    let words = [
        (any(Value::is_i64), "int"),
        (any(|value| value.is_number() && !value.is_i64()), "float"),
        (any(Value::is_boolean), "bool"),
        (any(Value::is_string), of_texts),
        (any(|value| value.is_array() || value.is_object()), "json"),
    ];
    let words = words.into_iter().filter(|(is, _)| *is);
    words.map(|(_, word)| word.to_owned()).collect()
}

proptest! {
    #[test]
    fn the_census_agrees_with_a_tree_of_each_row(
        rows in prop::collection::vec(
            prop::collection::btree_map("[ab\"\\\\é]{0,2}", value(), 0..5),
            0..12,
        ),
        split in 0..12_usize,
    ) {
        let lines: Vec<String> = rows
            .iter()
            .map(|row| serde_json::to_string(row).expect("a map is JSON"))
            .collect();
        let mut first = Census::default();
        let mut second = first.beside();
        for (n, line) in lines.iter().enumerate() {
            let half = if n < split { &mut second } else { &mut first };
            half.count(n as u64, None, Some(line));
        }
        first.merge(second);
        let catalog = first.finish();
        prop_assert_eq!(catalog.rows, rows.len() as u64);
        let found = catalog.properties.iter().map(|one| {
            let types: Vec<String> = one.types.iter().map(ToString::to_string).collect();
            let filled = (one.fill * rows.len() as f64).round() as usize;
            (one.property.clone(), (filled, one.distinct as usize, types))
        });
        prop_assert_eq!(found.collect::<BTreeMap<_, _>>(), model(&rows));
        let fills: Vec<(i64, &str)> = catalog
            .properties
            .iter()
            .map(|one| (-(one.fill * 1e9) as i64, &*one.property))
            .collect();
        prop_assert!(fills.is_sorted());
    }
}
