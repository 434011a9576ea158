//! The keys of units: what they are made of, and what has no part in them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;
use mixflow_core::config::Env;
use mixflow_core::ledger::Held;
use mixflow_core::unit::{DatasetKey, UnitKey};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// An option of a pipeline file and its value.
type Line = (&'static str, String);

/// Where and by whom a pipeline file is run.
#[derive(Clone, Debug)]
struct Machine {
    state: Option<PathBuf>,
    now: i64,
    lines: Vec<Line>,
}

fn lines(lines: &[(&'static str, &str)]) -> Vec<Line> {
    let owned = |(key, value): &(&'static str, &str)| (*key, (*value).to_owned());
    lines.iter().map(owned).collect()
}

fn options<T: serde::de::DeserializeOwned>(lines: &[Line]) -> T {
    let text: Vec<String> = lines
        .iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    toml::from_str(&text.join("\n")).expect("these are options")
}

fn context(machine: &Machine) -> BuildContext {
    let now = Timestamp::from_second(machine.now).expect("a time");
    BuildContext {
        state: machine.state.clone(),
        env: Env::empty(),
        ..BuildContext::new(now)
    }
}

/// A machine without anything of its own.
fn bare() -> Machine {
    Machine {
        state: None,
        now: 1_750_000_000,
        lines: lines(&[("auth", r#"{ token = "t" }"#)]),
    }
}

fn machine() -> impl Strategy<Value = Machine> {
    let auth = select(vec![
        r#"{ token = { env = "TOKEN" } }"#,
        r#"{ project_secret = "s" }"#,
        r#"{ username = "u", secret = { file = "/run/secret" } }"#,
    ]);
    let place = prop::option::of(select(vec![
        ("region", "\"eu\""),
        ("region", "\"in\""),
        ("base_url", "\"http://127.0.0.1:8080\""),
    ]));
    let state = prop::option::of("/[a-z]{1,8}").prop_map(|path| path.map(PathBuf::from));
    let how = prop::sample::subsequence(
        vec![
            ("max_rejects", "7"),
            ("retry", "{ max_attempts = 2 }"),
            ("limits", "{ per_hour = 600, concurrent = 2 }"),
        ],
        0..=3,
    );
    let now = 1_750_000_000i64..1_790_000_000;
    (auth, place, state, how, now).prop_map(|(auth, place, state, how, now)| {
        let mut all = vec![("auth", auth)];
        all.extend(place);
        all.extend(how);
        Machine {
            state,
            now,
            lines: lines(&all),
        }
    })
}

/// Returns a list of these texts, in this order.
fn list(texts: &[&str]) -> String {
    format!("{texts:?}")
}

/// The keys of the units of events.
fn windows(request: &[Line], machine: &Machine) -> Vec<UnitKey> {
    let lines = [request, &machine.lines].concat();
    let made = Events::new(options(&lines), &context(machine));
    let (_, events) = made.expect("the options are right");
    let units = events.planned(&Held::default()).into_iter();
    units.map(|unit| unit.key).collect()
}

/// The key of the dataset of profiles, which is part of the key of each page.
fn people(request: &[Line], machine: &Machine) -> DatasetKey {
    let lines = [request, &machine.lines].concat();
    let source = MixpanelSource::profiles(options(&lines), &context(machine));
    source.expect("the options are right").info().dataset.key()
}

fn days(first: &str, last: &str) -> Vec<Line> {
    vec![("from", format!("{first:?}")), ("to", format!("{last:?}"))]
}

fn some_events(names: &[&str]) -> Vec<Line> {
    let mut lines = lines(&[
        ("project_id", "12345"),
        ("where", r#"'x == 1'"#),
        ("window_days", "1"),
    ]);
    lines.push(("events", list(names)));
    lines.extend(days("2024-01-01", "2024-01-03"));
    lines
}

const BEHAVIORS: &str = r#"[{ window = "7d", name = "b", event_selectors = [{ event = "Buy" }] }]"#;
const BEHAVIORS_AS_TEXT: &str =
    r#"'[{"name":"b","event_selectors":[{"event":"Buy"}],"window":"7d"}]'"#;

fn some_people(ids: &[&str], names: &[&str], behaviors: &str) -> Vec<Line> {
    let mut lines = lines(&[("project_id", "\"12345\""), ("where", r#"'x == 1'"#)]);
    lines.push(("distinct_ids", list(ids)));
    lines.push(("output_properties", list(names)));
    lines.push(("behaviors", behaviors.to_owned()));
    lines
}

proptest! {
    #[test]
    fn windows_are_the_same_units_on_every_machine_and_in_any_order(
        machine in machine(),
        names in Just(vec!["a", "b", "é"]).prop_shuffle(),
        order in Just((0..7).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let mut request = some_events(&names);
        request.push(("time_in_ms", "true".to_owned()));
        let request: Vec<Line> = order.iter().filter_map(|n| request.get(*n).cloned()).collect();
        prop_assert_eq!(windows(&request, &machine), windows(&some_events(&["é", "a", "b"]), &bare()));
    }

    #[test]
    fn profiles_are_the_same_on_every_machine_and_in_any_order(
        machine in machine(),
        ids in Just(vec!["1", "b", "c", "1"]).prop_shuffle(),
        names in Just(vec!["$email", "$city", "x"]).prop_shuffle(),
        behaviors in select(vec![BEHAVIORS, BEHAVIORS_AS_TEXT]),
        order in Just((0..5).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let request = some_people(&ids, &names, behaviors);
        let request: Vec<Line> = order.iter().map(|n| request[*n].clone()).collect();
        let usual = some_people(&["b", "c", "1"], &["x", "$email", "$city"], BEHAVIORS);
        prop_assert_eq!(people(&request, &machine), people(&usual, &bare()));
    }

    /// Any other filter is another unit.
    #[test]
    fn keys_differ_just_when_a_filter_does(one in "[a-c= ']{1,4}x", other in "[a-c= ']{1,4}x") {
        let events = |filter: &str| {
            let mut request = days("2024-01-01", "2024-01-01");
            request.push(("where", format!("{filter:?}")));
            windows(&request, &bare())
        };
        prop_assert_eq!(events(&one) == events(&other), one == other);
        let profiles = |filter: &str| people(&[("where", format!("{filter:?}"))], &bare());
        prop_assert_eq!(profiles(&one) == profiles(&other), one == other);
    }
}

#[test]
fn other_events_are_other_units() {
    let day = || days("2024-01-01", "2024-01-01");
    let with = |more: &[(&'static str, &str)]| [day(), lines(more)].concat();
    let requests = [
        day(),
        days("2024-01-02", "2024-01-02"),
        [
            days("2024-01-01", "2024-01-02"),
            lines(&[("window_days", "2")]),
        ]
        .concat(),
        with(&[("project_id", "1")]),
        with(&[("project_id", "2")]),
        with(&[("where", "'x == 1'")]),
        with(&[("where", "'x == 2'")]),
        with(&[("events", "[\"a\"]")]),
        with(&[("events", "[\"a\", \"b\"]")]),
        with(&[("events", "[\"a, b\"]")]),
        with(&[("limit", "10")]),
        with(&[("limit", "100")]),
        with(&[("timezone", "\"US/Pacific\"")]),
    ];
    let keys: BTreeSet<UnitKey> = requests.iter().flat_map(|r| windows(r, &bare())).collect();
    assert_eq!(keys.len(), requests.len());
    // Each day of a range is the unit that it is when it is asked for alone.
    let split = windows(
        &[
            days("2024-01-01", "2024-01-02"),
            lines(&[("window_days", "1")]),
        ]
        .concat(),
        &bare(),
    );
    assert_eq!(split[0], windows(&day(), &bare())[0]);
    assert_ne!(split[0], split[1]);
}

#[test]
fn other_profiles_are_another_dataset() {
    let cohort =
        |more: &[(&'static str, &str)]| [lines(&[("cohort_id", "4")]), lines(more)].concat();
    let behaviors =
        |more: &[(&'static str, &str)]| [lines(&[("behaviors", BEHAVIORS)]), lines(more)].concat();
    let requests = [
        lines(&[]),
        lines(&[("project_id", "1")]),
        lines(&[("project_id", "2")]),
        lines(&[("where", "'x == 1'")]),
        lines(&[("distinct_id", "\"a\"")]),
        lines(&[("distinct_ids", "[\"a\"]")]),
        lines(&[("distinct_ids", "[\"a\", \"b\"]")]),
        lines(&[("group_id", "7")]),
        lines(&[("output_properties", "[\"a\"]")]),
        lines(&[("output_properties", "[\"b\"]")]),
        cohort(&[]),
        cohort(&[("include_all_users", "true")]),
        lines(&[("cohort_id", "5")]),
        behaviors(&[]),
        behaviors(&[("as_of_timestamp", "1700000000")]),
        behaviors(&[("as_of_timestamp", "1700000001")]),
        lines(&[("behaviors", "[]")]),
    ];
    let keys: BTreeSet<DatasetKey> = requests
        .iter()
        .map(|request| people(request, &bare()))
        .collect();
    assert_eq!(keys.len(), requests.len());
    // What is the default may be said.
    let said = cohort(&[("include_all_users", "false")]);
    assert_eq!(people(&said, &bare()), people(&cohort(&[]), &bare()));
    // Events and profiles of a project are two things.
    let events = [days("2024-01-01", "2024-01-01"), bare().lines].concat();
    let events = MixpanelSource::events(options(&events), &context(&bare())).expect("right");
    assert_ne!(events.info().dataset.key(), people(&[], &bare()));
}
