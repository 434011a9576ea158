//! What is told of the rows that are left out.

use mixflow_core::testing::{counted, unit_context};

use super::super::tests::events;
use super::*;

#[test]
fn rows_that_are_left_out_are_counted_by_why() {
    let options = FilterOptions {
        condition: "properties.n > 5".to_owned(),
    };
    let filter = Filter::new(&options, &events(&[]).schema()).expect("it is a condition");
    let (cx, _) = unit_context();
    drop(filter.stream(Box::new(std::iter::empty()), &cx));
    let told = |cx: &UnitContext| serde_json::to_string(&counted(cx).dropped).expect("it is JSON");
    assert_eq!(told(&cx), r#"{"filter":{"false":0,"null":0}}"#);
    let batches = [
        events(&[r#"{"n":6}"#, r#"{"n":5}"#, "{}"]),
        events(&[r#"{"n":"6"}"#, r#"{"n":null}"#]),
    ];
    let kept: usize = filter
        .stream(Box::new(batches.into_iter().map(Ok)), &cx)
        .map(|records| records.expect("it is JSON").num_rows())
        .sum();
    assert_eq!(kept, 1);
    assert_eq!(told(&cx), r#"{"filter":{"false":1,"null":3}}"#);
}
