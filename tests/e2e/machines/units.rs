//! Units, read anywhere.

use std::io::Cursor;
use std::time::Duration;

use arrow::ipc::reader::StreamReader;
use jiff::civil::date;
use mixflow_tests::sim::{Action, Cut, Data, Fault, Limits, Matcher};
use serde_json::Value;

use super::{Machines, SINK, days, unit};
use crate::support::{Ran, events, pipeline, sim, started};

#[test]
fn a_unit_that_was_left_is_not_asked_for_again() {
    let sim = started(sim(Data::sample()));
    let machines = Machines::of_days(&sim, 1, 2);
    let receipt = machines.receipt(1, 0);
    assert_eq!(sim.requests().len(), 1);
    let plan = machines.planned();
    assert_eq!(receipt["plan_id"], plan["plan_id"]);
    assert_eq!(receipt["key"], plan["units"][0]["key"]);
    assert_eq!(receipt["requests"], 1);
    assert_eq!(receipt["rejected"], 0);
    assert!(receipt["rows"].as_u64().unwrap() > 0, "{receipt}");
    assert!(receipt["bytes"].as_u64().unwrap() > 0, "{receipt}");
    let part = &receipt["part"];
    let path = format!(
        "stage/{}/{}",
        plan["plan_id"].as_str().unwrap(),
        part["path"].as_str().unwrap()
    );
    let bytes = std::fs::read(machines.place.path(path)).unwrap();
    assert_eq!(part["bytes"], bytes.len());
    // Whoever runs it, by index or by key.
    assert_eq!(machines.receipt(2, 0), receipt);
    let key = receipt["key"].as_str().unwrap();
    let again = [
        "unit",
        "run",
        "--plan",
        "plan.json",
        "--key",
        key,
        "--stage",
        "stage",
    ];
    let again = machines
        .on(3, &again)
        .ended(0)
        .says("2024-01-01 was read before");
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&again.stdout).unwrap(),
        receipt
    );
    assert_eq!(sim.requests().len(), 1);
}

#[test]
fn of_two_machines_that_read_a_unit_at_once_one_leaves_it() {
    let slow = Fault::always(
        Matcher::export(),
        Action::SlowFirstByte(Duration::from_millis(400)),
    );
    let sim = started(sim(Data::sample()).fault(slow));
    let machines = Machines::of_days(&sim, 1, 1);
    let both = [1, 2].map(|n| machines.begin(n, &unit("0", "stage")));
    let both = both.map(|child| Ran::of(child.wait_with_output().unwrap()).ended(0));
    assert_eq!(both[0].stdout, both[1].stdout);
    assert_eq!(sim.requests().len(), 2);
    // What the other one had read is gone.
    assert_eq!(machines.staged("parts").len(), 1);
    assert_eq!(machines.staged("receipts").len(), 1);
    machines.commit(3, &[]).ended(0);
    machines
        .place
        .run(&days(&sim, 1, 1, &SINK.replace("out", "plain")))
        .0
        .ended(0);
    assert_eq!(machines.rows("out.db"), machines.rows("plain.db"));
}

#[test]
fn a_unit_that_fails_leaves_nothing() {
    let refused = Action::Status {
        code: 400,
        retry_after: None,
        body: None,
    };
    let broken = Fault::once(Matcher::export(), refused);
    let sim = started(sim(Data::sample()).fault(broken));
    let machines = Machines::of_days(&sim, 1, 1);
    machines.unit(1, 0).ended(1);
    assert_eq!(machines.staged("parts"), Vec::<String>::new());
    assert_eq!(machines.staged("receipts"), Vec::<String>::new());
    machines.unit(1, 0).ended(0);
}

#[test]
fn the_hour_is_shared_by_all_machines() {
    let sim = started(sim(Data::sample()).limits(Limits {
        per_hour: Some(3),
        ..Limits::default()
    }));
    let hourly = "from = \"2024-01-01\"\nto = \"2024-01-06\"\nwindow_days = 1\nretry = { max_wait = \"2s\", max_attempts = 1 }";
    let source = events(&sim, hourly).replace("per_hour = 10000", "per_hour = 3");
    let machines = Machines::planning(&pipeline(&[&source, SINK]));
    // Each has a state of its own, so none knows of what the others ask.
    let children: Vec<_> = (0..6)
        .map(|n| machines.begin(n, &unit(["0", "1", "2", "3", "4", "5"][n], "stage")))
        .collect();
    let mut codes: Vec<i32> = children
        .into_iter()
        .map(|child| Ran::of(child.wait_with_output().unwrap()).code.unwrap())
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 0, 0, 5, 5, 5]);
    // The server has never had to refuse.
    assert_eq!(sim.requests().len(), 3);
    machines
        .unit(9, 5)
        .code
        .filter(|code| [0, 5].contains(code))
        .expect("read before, or there is no slot");
    assert_eq!(sim.requests().len(), 3);
}

#[test]
fn a_unit_is_an_arrow_stream_when_it_is_whole() {
    let sim = started(sim(Data::sample()));
    let machines = Machines::of_days(&sim, 1, 1);
    let read = ["unit", "read", "--plan", "plan.json", "--index", "0"];
    let ran = machines.on(1, &read).ended(0);
    let reader = StreamReader::try_new(Cursor::new(ran.stdout), None).unwrap();
    let names: Vec<String> = reader
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(
        names,
        [
            "event_name",
            "event_time",
            "distinct_id",
            "insert_id",
            "properties"
        ]
    );
    let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
    let receipt = machines.receipt(1, 0);
    assert_eq!(receipt["rows"], rows);
    assert_eq!(machines.place.names(), ["machine-1", "plan.json", "stage"]);
}

#[test]
fn nothing_is_written_of_a_unit_that_is_not_whole() {
    let cut = Fault::always(Matcher::export(), Action::CutBody(Cut::Fraction(0.9)));
    let sim = started(sim(Data::sample()).fault(cut));
    let machines = Machines::planning(&pipeline(&[
        &events(
            &sim,
            "from = \"2024-01-01\"\nto = \"2024-01-01\"\nretry = { max_attempts = 1 }",
        ),
        SINK,
    ]));
    let read = ["unit", "read", "--plan", "plan.json", "--index", "0"];
    let ran = machines.on(1, &read).ended(1);
    assert_eq!(ran.stdout, b"");
}

#[test]
fn several_units_are_read_one_after_the_other() {
    let refused = Action::Status {
        code: 400,
        retry_after: None,
        body: None,
    };
    let fault = Fault::always(Matcher::export_from(date(2024, 1, 2)), refused);
    let server = started(sim(Data::sample()).fault(fault));
    let machines = Machines::of_days(&server, 1, 4);
    let run = |at: &str| machines.on(1, &unit(at, "stage"));
    // One that fails leaves the others alone.
    let ran = run("0-3").ended(1);
    let receipts = serde_json::Deserializer::from_slice(&ran.stdout).into_iter::<Value>();
    let labels: Vec<String> = receipts
        .map(|receipt| receipt.unwrap()["counted"]["record"]["label"].to_string())
        .collect();
    assert_eq!(
        labels,
        ["\"2024-01-01\"", "\"2024-01-03\"", "\"2024-01-04\""]
    );
    assert_eq!(machines.staged("receipts").len(), 3);
    let asked = server.requests().len();
    run("2-3").ended(0).says("2024-01-03 was read before");
    assert_eq!(server.requests().len(), asked);
    run("3-4")
        .ended(2)
        .says("no unit of the plan has the index 4");
    run("3-1").ended(2).says("the first of them comes first");
    run("all").ended(2).says("write a number, or two");
}
