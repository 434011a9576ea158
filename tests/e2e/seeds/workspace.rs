//! 000, 002 and 004 by the library.

use std::collections::BTreeSet;
use std::time::Duration;

use mixflow::core::cancel::cancellation;
use mixflow::core::config::Seconds;
use mixflow::core::observer::RunEvent;
use mixflow::{ErrorKind, Events, Profiles, RetryOptions, Workspace, WorkspaceBuilder};
use mixflow_tests::sim::{Data, ExportQuery, Fault, Simulator};
use tempfile::TempDir;

use super::{PRO, days};
use crate::rows::form::{Event as Row, expected_events};
use crate::support::{sim, started, workspace};

fn data() -> Data {
    use jiff::civil::date;
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 5), 9_000, 450, 7)
}

fn builder(sim: &Simulator, folder: &TempDir) -> WorkspaceBuilder {
    workspace(sim)
        .retry(RetryOptions {
            base_delay: Seconds(Duration::from_millis(1)),
            ..RetryOptions::default()
        })
        .home(folder.path())
        .state_folder(folder.path().join("state"))
}

fn project() -> (Simulator, TempDir, Workspace) {
    let sim = started(sim(data()).page_size(100));
    let folder = tempfile::tempdir().unwrap();
    let workspace = builder(&sim, &folder).build().unwrap();
    (sim, folder, workspace)
}

fn three_days() -> Events {
    Events::between("2024-01-02", "2024-01-04").window_days(1)
}

fn rows(events: impl Iterator<Item = mixflow::core::Result<mixflow::Event>>) -> Vec<Row> {
    let row = |event: mixflow::Event| Row {
        event_time_us: event.event_time.as_microsecond(),
        insert_id: event.insert_id,
        event_name: event.event_name,
        distinct_id: event.distinct_id,
        properties: event.properties.get().to_owned(),
    };
    events.map(|event| row(event.unwrap())).collect()
}

fn assert_no_database(folder: &TempDir) {
    assert!(!folder.path().join(".mixpanel_data").exists());
}

#[test]
fn seed_000_fr_007_and_008_a_fetch_tells_its_rows_and_returns_a_result() {
    let (sim, _folder, workspace) = project();
    let mut told = Vec::new();
    let mut observer = |event: &RunEvent<'_>| {
        if let RunEvent::Progress(progress) = event {
            told.push(progress.rows);
        }
    };
    let (_guard, token) = cancellation();
    let fetched = workspace
        .fetch_events_with(&three_days().table("january"), &mut observer, &token)
        .unwrap();
    let expected = expected_events(&sim, &days()).len() as u64;
    assert_eq!((&*fetched.table, fetched.row_count), ("january", expected));
    assert_eq!(fetched.data_type, "events");
    assert_eq!(fetched.from_date.as_deref(), Some("2024-01-02"));
    assert_eq!(fetched.to_date.as_deref(), Some("2024-01-04"));
    assert!(fetched.missing().is_empty() && !fetched.duration.is_zero());
    assert!(
        told.windows(2).all(|pair| pair[1] - pair[0] <= 2_000),
        "{told:?}"
    );
    assert_eq!(told.last(), Some(&expected));
    let store = workspace.store().unwrap();
    assert_eq!(store.metadata("january").unwrap().row_count, expected);
}

#[test]
fn a_fetch_goes_through_the_open_store_in_every_mode() {
    let (sim, _folder, workspace) = project();
    let store = workspace.store().unwrap();
    let expected = expected_events(&sim, &days()).len() as u64;
    let count = || -> u64 { store.scalar("SELECT count(*) FROM events").unwrap() };
    workspace.fetch_events(&three_days()).unwrap();
    let again = workspace.fetch_events(&three_days()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::TableExists);
    for (request, rows) in [
        (three_days().append(), 2 * expected),
        (three_days().replace(), expected),
        (three_days().replace_window(), expected),
    ] {
        workspace.fetch_events(&request).unwrap();
        assert_eq!(count(), rows);
    }
    let people = workspace
        .fetch_profiles(&Profiles::all().workers(3))
        .unwrap();
    assert_eq!((&*people.table, people.row_count), ("profiles", 450));
    assert_eq!((people.from_date, people.to_date), (None, None));
}

#[test]
fn a_fetch_that_is_cancelled_leaves_nothing() {
    let (_sim, _folder, workspace) = project();
    let (guard, token) = cancellation();
    let mut guard = Some(guard);
    let mut observer = |event: &RunEvent<'_>| {
        if matches!(event, RunEvent::PartitionDone { .. }) {
            guard = None;
        }
    };
    let error = workspace
        .fetch_events_with(&three_days(), &mut observer, &token)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(workspace.store().unwrap().list_tables().unwrap().is_empty());
}

#[test]
fn seed_002_us1_1_events_stream_without_a_file() {
    let (sim, folder, workspace) = project();
    let stream = workspace.stream_events(&three_days()).unwrap();
    assert_eq!(rows(stream), expected_events(&sim, &days()));
    assert_no_database(&folder);
}

#[test]
fn seed_002_us1_3_and_4_streams_take_the_filters() {
    let (sim, _folder, workspace) = project();
    let request = three_days().named(["sign up", "checkout"]).filter(PRO);
    let query = ExportQuery {
        events: vec!["sign up".to_owned(), "checkout".to_owned()],
        where_: Some(PRO.to_owned()),
        ..days()
    };
    let expected = expected_events(&sim, &query);
    assert!(!expected.is_empty());
    assert_eq!(rows(workspace.stream_events(&request).unwrap()), expected);
}

#[test]
fn seed_002_us3_profiles_stream_without_a_file() {
    let (_sim, folder, workspace) = project();
    let ids = |profiles: Profiles| -> BTreeSet<String> {
        let stream = workspace.stream_profiles(&profiles).unwrap();
        stream.map(|profile| profile.unwrap().distinct_id).collect()
    };
    let all = ids(Profiles::all());
    assert_eq!(all.len(), 450);
    let some: Vec<String> = all.iter().take(3).cloned().collect();
    assert_eq!(
        ids(Profiles::all().distinct_ids(some.clone())),
        some.into_iter().collect()
    );
    let pro = ids(Profiles::all().filter(PRO));
    assert!(!pro.is_empty() && pro.len() < 450);
    assert_no_database(&folder);
}

#[test]
fn seed_002_us4_raw_records_are_what_mixpanel_sends() {
    let (_sim, _folder, workspace) = project();
    let event = workspace.stream_raw_events(&three_days()).unwrap().next();
    let event = event.unwrap().unwrap();
    let value: serde_json::Value = event.json().unwrap();
    assert!(value["properties"]["time"].is_number());
    let profile = workspace
        .stream_raw_profiles(&Profiles::all())
        .unwrap()
        .next();
    let value: serde_json::Value = profile.unwrap().unwrap().json().unwrap();
    assert!(value["$distinct_id"].is_string() && value["$properties"].is_object());
}

#[test]
fn seed_002_fr_014_wrong_credentials_are_an_error_before_the_first_item() {
    let (sim, folder, _workspace) = project();
    let wrong = builder(&sim, &folder)
        .service_account("sim", "wrong")
        .build()
        .unwrap();
    let error = wrong.stream_events(&three_days()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Auth);
    assert!(!format!("{error:?}").contains("wrong\""));
}

#[test]
fn seed_002_fr_015_and_016_streams_retry_or_end_with_an_error() {
    let faulty = |fault: Fault| {
        let sim = started(sim(data()).fault(fault));
        let folder = tempfile::tempdir().unwrap();
        let workspace = builder(&sim, &folder).build().unwrap();
        (sim, folder, workspace)
    };
    let parsed = |text: &str| Fault::parse(text).unwrap();
    let (sim, _folder, workspace) = faulty(parsed("export times=2 cut=0.5"));
    let stream = workspace.stream_events(&three_days()).unwrap();
    assert_eq!(rows(stream), expected_events(&sim, &days()));
    let (_sim, _folder, workspace) = faulty(parsed("export always cut=0.5"));
    let ended = match workspace.stream_events(&three_days()) {
        Err(error) => Some(error),
        Ok(stream) => stream.last().and_then(Result::err),
    };
    assert!(ended.is_some(), "a stream that broke off looked whole");
}

#[test]
fn a_stream_that_is_dropped_ends_its_run() {
    let (sim, _folder, workspace) = project();
    let mut stream = workspace.stream_events(&three_days()).unwrap();
    stream.next().unwrap().unwrap();
    drop(stream);
    // What was on the way may still arrive.
    let pause = || std::thread::sleep(std::time::Duration::from_millis(100));
    pause();
    let asked = sim.requests().len();
    pause();
    assert_eq!(sim.requests().len(), asked);
    assert!(asked <= 3, "{asked}");
}

#[test]
fn settings_that_are_wrong_are_named_before_anything_is_asked() {
    let (sim, folder, _workspace) = project();
    let error = builder(&sim, &folder).region("mars").build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error.causes().concat().contains("`source.region`"),
        "{error:?}"
    );
    let workspace = builder(&sim, &folder).build().unwrap();
    let error = workspace
        .fetch_events(&Events::between("2024-01-05", "2024-01-01"))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(sim.requests().len(), 0);
}
