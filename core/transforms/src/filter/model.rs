//! What a filter takes and refuses, and a second opinion on what it does.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Float64Array, Int64Array, StringArray, UInt64Array};
use arrow::datatypes::{Field, Schema};
use mixflow_core::transform::Stateless;
use proptest::prelude::*;
use serde_json::Value;

use super::super::tests::{events, rejected};
use super::*;

/// Events with further columns: `n`, whole numbers or null, and the like.
fn rows(properties: &[&str]) -> RecordBatch {
    let events = events(properties);
    let count = properties.len() as i64;
    let whole: Int64Array = (0..count).map(|n| (n % 3 != 2).then_some(n)).collect();
    let float: Float64Array = (0..count)
        .map(|n| (n % 4 != 3).then_some(n as f64 / 2.0))
        .collect();
    let day: Date32Array = (0..count).map(|n| Some(n as i32)).collect();
    let note: StringArray = (0..count)
        .map(|n| (n % 2 == 0).then(|| format!("note {n}")))
        .collect();
    let huge: UInt64Array = (0..count).map(|n| Some(n as u64)).collect();
    let more: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(whole)),
        ("f", Arc::new(float)),
        ("day", Arc::new(day)),
        ("note", Arc::new(note)),
        ("huge", Arc::new(huge)),
    ];
    let schema = events.schema();
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| (**f).clone()).collect();
    let mut columns = events.columns().to_vec();
    for (name, column) in more {
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns fit")
}

fn built(condition: &str) -> std::result::Result<Filter, Vec<Invalid>> {
    let options = FilterOptions {
        condition: condition.to_owned(),
    };
    Filter::new(&options, &rows(&[]).schema())
}

/// Returns the numbers of the rows that pass.
fn passing(condition: &str, properties: &[&str]) -> Vec<usize> {
    let filter = built(condition).unwrap_or_else(|problems| panic!("{condition}: {problems:?}"));
    let rows = rows(properties);
    let passes = filter.condition.evaluate(&rows).expect("it is JSON");
    let kept = filter.apply(rows).expect("it is JSON");
    let passing: Vec<usize> = (0..passes.len())
        .filter(|n| passes.is_valid(*n) && passes.value(*n))
        .collect();
    assert_eq!(kept.num_rows(), passing.len());
    passing
}

use arrow::array::Array as _;

#[test]
fn rows_pass_for_which_the_condition_is_true() {
    let properties = [
        r#"{"amount":5,"$city":"Paris","vip":true,"cart":{"a.b":"x"}}"#,
        r#"{"amount":50.5,"$city":"Rome","vip":false}"#,
        r#"{"amount":"50","$city":null,"vip":1,"cart":[]}"#,
        "{}",
    ];
    for (condition, expected) in [
        ("event_name = 'event 1'", &[1][..]),
        ("event_name <> 'event 1'", &[0, 2, 3]),
        ("event_name IN ('event 1', 'event 3', 'x')", &[1, 3]),
        ("event_name NOT IN ('event 1')", &[0, 2, 3]),
        ("event_name LIKE '%t 2'", &[2]),
        ("event_name ILIKE 'EVENT _'", &[0, 1, 2, 3]),
        ("note NOT LIKE '%0'", &[2]),
        ("event_time >= '1970-01-01T00:00:02'", &[2, 3]),
        ("'1970-01-01 00:00:01' = event_time", &[1]),
        (
            "event_time BETWEEN '1970-01-01' AND '1970-01-01T02:00:01+02:00'",
            &[0, 1],
        ),
        ("event_time IN ('1970-01-01')", &[0]),
        ("day > '1970-01-03'", &[3]),
        ("n >= 1", &[1, 3]),
        ("n NOT BETWEEN 1 AND 2", &[0, 3]),
        ("n <= 0.5", &[0]),
        ("n = -(-1)", &[1]),
        ("n < 99999999999999999999", &[0, 1, 3]),
        ("f = 0.5 OR f IS NULL", &[1, 3]),
        ("n IN (3, 1.0)", &[1, 3]),
        ("n = f", &[0]),
        ("properties.amount >= 10", &[1]),
        ("properties.amount = 5.0", &[0]),
        ("properties.amount <> 5", &[1]),
        ("properties.amount = '50'", &[2]),
        ("properties->>'amount' IN ('5', '50')", &[0, 2]),
        ("properties->'amount' = 5", &[0]),
        ("properties.$city IN ('Paris', 'Rome')", &[0, 1]),
        (
            "properties.\"$city\" LIKE 'P%' AND NOT properties.vip IS NULL",
            &[0],
        ),
        ("properties.$city IS NULL", &[2, 3]),
        ("properties.vip", &[0]),
        ("NOT properties.vip", &[1]),
        ("properties.vip IS NOT TRUE", &[1, 2, 3]),
        ("properties.vip IN (TRUE)", &[0]),
        ("properties.vip IS NOT NULL", &[0, 1, 2]),
        ("properties.cart.\"a.b\" = 'x'", &[0]),
        ("properties->'cart'->>'a.b' = 'x'", &[0]),
        ("properties IS NULL", &[]),
        ("huge IS NOT NULL", &[0, 1, 2, 3]),
        ("TRUE", &[0, 1, 2, 3]),
        ("FALSE OR (n = 1 AND TRUE)", &[1]),
        ("note < 'note 1'", &[0]),
    ] {
        assert_eq!(passing(condition, &properties), expected, "{condition}");
    }
}

#[test]
fn big_whole_numbers_are_compared_exactly() {
    let properties = [
        r#"{"id":9007199254740993}"#,
        r#"{"id":9007199254740992}"#,
        r#"{"id":99999999999999999999}"#,
    ];
    assert_eq!(
        passing("properties.id = 9007199254740993", &properties),
        [0]
    );
    assert_eq!(
        passing("properties.id > 9007199254740992", &properties),
        [0, 2]
    );
    assert_eq!(
        passing("properties.id = 99999999999999999999", &properties),
        [2]
    );
}

#[test]
fn odd_texts_are_compared_and_do_not_fail() {
    let properties = [
        r#"{"a":"\ud83d"}"#,
        r#"{"a":"\u0041\""}"#,
        r#"{"a":"A","a":"B"}"#,
    ];
    assert_eq!(passing("properties.a = 'A\"'", &properties), [1]);
    assert_eq!(passing("properties.a = 'B'", &properties), [2]);
    assert_eq!(passing("properties.a = '\u{fffd}'", &properties), [0]);
}

#[test]
fn what_is_no_condition_is_refused_when_the_pipeline_is_built() {
    for (condition, says) in [
        (
            "",
            "this is not an expression: expected: an expression, found: EOF",
        ),
        (
            "n =",
            "this is not an expression: expected: an expression, found: EOF",
        ),
        ("n = 1 2", "nothing is expected at `2`, column 7"),
        ("n = 1; DROP TABLE x", "nothing is expected at `;`"),
        (
            "'open",
            "this is not an expression: unterminated string literal",
        ),
        (
            "event_nam = 'x'",
            "there is no column `event_nam`, did you mean `event_name`?",
        ),
        (
            "event_name = \"Purchase\"",
            "there is no column `Purchase`; texts stand in single quotes",
        ),
        (
            "event_name = 1",
            "`event_name` is text, and `1` is a number: they cannot be compared",
        ),
        (
            "n = 'x'",
            "`n` is a number, and `'x'` is text: they cannot be compared",
        ),
        ("n IN (1, 'x')", "`n` is a number, and `'x'` is text"),
        ("n IN (f)", "`f` stands in a list"),
        ("n BETWEEN 1 AND 'x'", "`n` is a number, and `'x'` is text"),
        (
            "event_time > 5",
            "`event_time` is timestamp, and `5` is a number",
        ),
        (
            "event_time > 'soon'",
            "`event_time` is timestamp, and `'soon'` is none; one is '2024-01-31 12:00'",
        ),
        (
            "day = '2024-01-01T00:00'",
            "`day` is date, and `'2024-01-01T00:00'` is none",
        ),
        (
            "day = event_time",
            "`day` is date, and `event_time` is timestamp",
        ),
        ("n", "`n` is a number, and a condition is true or false"),
        ("n LIKE 'x'", "`n` is a number, and LIKE needs text"),
        ("note LIKE n", "`n` is no pattern, which is a text"),
        ("note LIKE 'x' ESCAPE '!'", "is not supported"),
        (
            "note = NULL",
            "nothing is equal to NULL, nor different: use `IS NULL`",
        ),
        ("1 = 1", "`1` and `1` are the same in every row"),
        (
            "n + 1 = 2",
            "`n + 1` is not supported: a condition has columns, paths such as",
        ),
        ("lower(note) = 'x'", "`lower(note)` is not supported"),
        ("n IN (SELECT 1)", "`n IN (SELECT 1)` is not supported"),
        ("EXISTS (SELECT 1)", "is not supported"),
        ("note = CAST(n AS TEXT)", "is not supported"),
        (
            "note.a = 'x'",
            "the column `note` is text, and only json has values in it",
        ),
        (
            "properties = '{}'",
            "the column `properties` is json: compare a value in it, such as `properties.amount`",
        ),
        (
            "properties.a = properties.b",
            "neither `properties.a` nor `properties.b` has a type of its own",
        ),
        (
            "properties.a > event_time",
            "`properties.a` has no type of its own, and JSON has no timestamp",
        ),
        (
            "properties->>'a' = 5",
            "`properties ->> 'a'` is text, and `5` is a number",
        ),
        ("properties->>'a'->>'b' = 'x'", "is no path"),
        ("properties['a'] = 'x'", "is not supported"),
        (
            "huge = 1",
            "the column `huge` is UInt64, which a filter cannot compare",
        ),
        ("(note) IS NULL IS NULL", "is not supported"),
    ] {
        let problem = rejected(built(condition));
        assert!(
            problem.starts_with("where: ") && problem.contains(says),
            "{condition}: {problem}"
        );
    }
}

#[test]
fn depth_costs_no_stack() {
    let deep = |n: usize| format!("{}n = 1{}", "(".repeat(n), ")".repeat(n));
    assert!(built(&deep(10)).is_ok());
    assert!(rejected(built(&deep(4_000))).contains("nested too deeply"));
    assert!(built(&format!("{}TRUE", "NOT ".repeat(2_000))).is_err());
    assert!(
        rejected(built(&format!("TRUE{}", " IS TRUE".repeat(1_000)))).contains("nested too deeply")
    );
    assert!(rejected(built(&"x".repeat(10_001))).contains("at most 10000 bytes"));
    let long = vec!["n = 1"; 900].join(" OR ");
    assert_eq!(passing(&long, &["{}", "{}"]), [1]);
}

#[test]
fn the_options_are_described() {
    mixflow_core::testing::assert_described::<FilterOptions>(&DOC);
}

/// A condition, in a form that is easy to evaluate row by row.
#[derive(Clone, Debug)]
enum Model {
    Compare(&'static str, &'static str, Value),
    In(&'static str, Vec<Value>),
    IsNull(&'static str),
    Not(Box<Model>),
    And(Box<Model>, Box<Model>),
    Or(Box<Model>, Box<Model>),
    IsTrue(Box<Model>),
}

fn sql_of(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{text}'"),
        other => other.to_string(),
    }
}

impl Model {
    fn sql(&self) -> String {
        match self {
            Model::Compare(left, op, right) => format!("{left} {op} {}", sql_of(right)),
            Model::In(left, list) => {
                let list: Vec<String> = list.iter().map(sql_of).collect();
                format!("{left} IN ({})", list.join(", "))
            }
            Model::IsNull(left) => format!("{left} IS NULL"),
            Model::Not(inner) => format!("NOT ({})", inner.sql()),
            Model::And(a, b) => format!("({} AND {})", a.sql(), b.sql()),
            Model::Or(a, b) => format!("({} OR {})", a.sql(), b.sql()),
            Model::IsTrue(inner) => format!("({}) IS TRUE", inner.sql()),
        }
    }

    fn holds(&self, row: &Value) -> Option<bool> {
        match self {
            Model::Compare(left, op, right) => {
                compared(value(row, left), right).map(|ordering| match *op {
                    "=" => ordering.is_eq(),
                    "<>" => ordering.is_ne(),
                    "<" => ordering.is_lt(),
                    "<=" => ordering.is_le(),
                    ">" => ordering.is_gt(),
                    _ => ordering.is_ge(),
                })
            }
            Model::In(left, list) => {
                let mut equal = list.iter().map(|item| compared(value(row, left), item));
                // The items have one type, so all are null or none is.
                equal.try_fold(false, |any, ordering| Some(any | ordering?.is_eq()))
            }
            Model::IsNull(left) => Some(value(row, left).is_null()),
            Model::Not(inner) => inner.holds(row).map(|is| !is),
            Model::And(a, b) => match (a.holds(row), b.holds(row)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Model::Or(a, b) => match (a.holds(row), b.holds(row)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Model::IsTrue(inner) => Some(inner.holds(row) == Some(true)),
        }
    }
}

fn value<'r>(row: &'r Value, name: &str) -> &'r Value {
    name.split('.')
        .fold(row, |value, key| value.get(key).unwrap_or(&Value::Null))
}

fn compared(left: &Value, right: &Value) -> Option<std::cmp::Ordering> {
    match (left, right) {
        (Value::String(a), Value::String(b)) => Some(a.as_str().cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        _ => None,
    }
}

fn model() -> impl Strategy<Value = Model> {
    let op = || prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let path = || prop::sample::select(vec!["properties.a", "properties.b", "properties.c.d"]);
    let number = || {
        prop_oneof![
            (-2i64..3).prop_map(Value::from),
            prop::sample::select(vec![0.5, -0.5, 1.0]).prop_map(Value::from)
        ]
    };
    let text = || prop::sample::select(vec!["", "x", "note 2", "1"]).prop_map(Value::from);
    let any_value = || prop_oneof![number(), text(), any::<bool>().prop_map(Value::from)];
    let leaf = prop_oneof![
        (path(), op(), any_value()).prop_map(|(path, op, value)| Model::Compare(path, op, value)),
        (prop::sample::select(vec!["n", "f"]), op(), number())
            .prop_map(|(name, op, value)| Model::Compare(name, op, value)),
        (op(), text()).prop_map(|(op, value)| Model::Compare("note", op, value)),
        (path(), prop::collection::vec(number(), 1..4))
            .prop_map(|(path, list)| Model::In(path, list)),
        (path(), prop::collection::vec(text(), 1..4))
            .prop_map(|(path, list)| Model::In(path, list)),
        prop::sample::select(vec!["n", "note", "properties.a", "properties.c.d"])
            .prop_map(Model::IsNull),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| Model::Not(Box::new(a))),
            inner.clone().prop_map(|a| Model::IsTrue(Box::new(a))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Model::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| Model::Or(Box::new(a), Box::new(b))),
        ]
    })
}

/// Properties as a text, with values of every type.
fn properties() -> impl Strategy<Value = String> {
    let value = || {
        prop::sample::select(vec![
            "1",
            "1.0",
            "-0.5",
            "2",
            "\"x\"",
            "\"1\"",
            "\"\"",
            "true",
            "false",
            "null",
            "[1]",
            "{\"d\":1}",
        ])
    };
    let member = |key: &'static str| {
        prop::option::of(value())
            .prop_map(move |value| value.map(|value| format!("\"{key}\":{value}")))
    };
    let nested = prop::option::of(value())
        .prop_map(|value| value.map(|value| format!("\"c\":{{\"d\":{value}}}")));
    (member("a"), member("b"), member("c"), nested).prop_map(|(a, b, c, nested)| {
        let members: Vec<String> = [a, b, c, nested].into_iter().flatten().collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #[test]
    fn it_says_what_a_look_at_each_row_says(
        model in model(),
        properties in prop::collection::vec(properties(), 1..8),
    ) {
        let texts: Vec<&str> = properties.iter().map(String::as_str).collect();
        let expected: Vec<usize> = (0..texts.len())
            .filter(|n| {
                let row = serde_json::json!({
                    "n": (n % 3 != 2).then_some(n),
                    "f": (n % 4 != 3).then_some(*n as f64 / 2.0),
                    "note": (n % 2 == 0).then(|| format!("note {n}")),
                    "properties": serde_json::from_str::<Value>(texts[*n]).expect("it is JSON"),
                });
                model.holds(&row) == Some(true)
            })
            .collect();
        prop_assert_eq!(passing(&model.sql(), &texts), expected, "{}", model.sql());
    }
}
