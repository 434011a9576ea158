//! The library, where it does what a pipeline file does: transforms, other
//! sinks, failure policy, units, and threads that share a workspace.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mixflow::core::cancel::{CancelToken, cancellation};
use mixflow::core::observer::{RunEvent, Silent};
use mixflow::core::report::{PartitionStatus, Status};
use mixflow::sinks::{JsonlOptions, ParquetOptions};
use mixflow::transforms::{FilterOptions, HashOptions, SelectOptions};
use mixflow::{Delivery, ErrorKind, Events, OnFailure, Profiles, Workspace, WorkspaceBuilder};
use mixflow_tests::sim::{Data, Fault, Simulator};

use crate::support::{Place, SECRET, events, pipeline, sim, started, workspace};

fn builder(sim: &Simulator, place: &Place) -> WorkspaceBuilder {
    workspace(sim)
        .home(place.path("home"))
        .state_folder(place.path("state"))
        .path(place.path("out.db"))
}

fn project() -> (Simulator, Place, Workspace) {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let workspace = builder(&sim, &place).build().unwrap();
    (sim, place, workspace)
}

fn fault(text: &str) -> Fault {
    Fault::parse(text).unwrap()
}

fn week() -> Events {
    Events::between("2024-01-01", "2024-01-07").window_days(1)
}

fn without(column: &str) -> SelectOptions {
    SelectOptions {
        drop: Some(vec![column.to_owned()]),
        ..SelectOptions::default()
    }
}

#[test]
fn transforms_change_rows_in_their_order() {
    let (_sim, _place, workspace) = project();
    let condition = FilterOptions {
        condition: "event_name = 'view item'".to_owned(),
    };
    let request = week().transform(condition).transform(without("event_name"));
    let fetched = workspace.fetch_events(&request).unwrap();
    let store = workspace.store().unwrap();
    let columns = store.schema("events").unwrap();
    assert!(columns.iter().all(|c| c.column_name != "event_name"));
    assert!(0 < fetched.row_count && fetched.row_count < fetched.report.read);
    // The other way round, the filter has nothing to look at.
    let condition = FilterOptions {
        condition: "event_name = 'view item'".to_owned(),
    };
    let wrong = week().transform(without("event_name")).transform(condition);
    let error = workspace.fetch_events(&wrong.replace()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error.causes().concat().contains("`transform.1.where`"),
        "{error:?}"
    );
}

#[test]
fn a_transform_gets_its_key_from_the_program() {
    let (_sim, _place, workspace) = project();
    let hash = HashOptions {
        columns: vec!["distinct_id".to_owned()],
        properties: Vec::new(),
        key: mixflow::core::config::SecretSource::Plain(mixflow::core::config::Secret::new(
            "a key of thirty-two characters..",
        )),
    };
    let fetched = workspace.fetch_events(&week().transform(hash)).unwrap();
    // No file has it in plain text that could be warned of.
    assert_eq!(fetched.report.warnings, [""; 0]);
}

#[test]
fn the_days_of_a_file_are_entered_for_the_command_line_too() {
    let (sim, place, workspace) = project();
    let file = JsonlOptions {
        path: Some(place.path("week.jsonl")),
        ..JsonlOptions::default()
    };
    let never = CancelToken::never();
    workspace.run(week(), file, &mut Silent, &never).unwrap();
    // What was streamed is nowhere.
    let day = Events::between("2024-01-08", "2024-01-08");
    assert!(workspace.stream_events(&day).unwrap().count() > 0);
    let sink = "[sink]\ntype = \"jsonl\"\npath = \"week.jsonl\"\n";
    place.write("week.toml", &pipeline(&[&events(&sim, ""), sink]));
    let gaps = ["gaps", "week.toml", "--to", "2024-01-08", "--format", "csv"];
    let ran = place.mixflow(&gaps).ended(3);
    assert_eq!(
        ran.stdout_lossy(),
        "first,last,days\n2024-01-08,2024-01-08,1\n"
    );
}

#[test]
fn a_request_goes_into_any_sink() {
    let (_sim, place, workspace) = project();
    let never = CancelToken::never();
    let lines = JsonlOptions {
        path: Some(place.path("week.jsonl")),
        ..JsonlOptions::default()
    };
    let report = workspace
        .run(week(), lines.clone(), &mut Silent, &never)
        .unwrap();
    let written = std::fs::read_to_string(place.path("week.jsonl")).unwrap();
    assert_eq!(written.lines().count() as u64, report.row_count);
    let more = week().append();
    workspace.run(&more, lines, &mut Silent, &never).unwrap();
    let both = std::fs::read_to_string(place.path("week.jsonl")).unwrap();
    assert_eq!(both, written.clone() + &written);
    let parquet = ParquetOptions {
        path: place.path("people.parquet"),
        mode: None,
        compression: None,
        partition_by: None,
        endpoint: None,
        region: None,
        allow_shrink: None,
        scope: None,
    };
    let report = workspace
        .run(Profiles::all(), parquet.clone(), &mut Silent, &never)
        .unwrap();
    assert_eq!((&*report.sink, report.row_count), ("parquet", 2_000));
    // The report of a run that did not do tells why.
    let again = workspace.run(Profiles::all(), parquet, &mut Silent, &never);
    let report = again.unwrap();
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(report.error_kind(), Some(ErrorKind::TableExists));
}

#[test]
fn only_the_units_that_a_run_lacks_are_read_again() {
    let place = Place::new();
    let sim =
        started(sim(Data::sample()).fault(fault("export from=2024-01-03 times=1 status=400")));
    let workspace = builder(&sim, &place).build().unwrap();
    let request = week().on_failure(OnFailure::Keep);
    let fetched = workspace.fetch_events(&request).unwrap();
    assert_eq!(fetched.report.status, Status::Partial);
    assert_eq!(fetched.missing().len(), 1);
    let lacking = fetched.report.partitions.into_iter();
    let units: Vec<_> = lacking
        .filter(|partition| partition.status == PartitionStatus::Failed)
        .filter_map(|partition| partition.unit)
        .collect();
    let asked = sim.requests().len();
    let rest = workspace
        .fetch_events(&request.append().only(units))
        .unwrap();
    assert_eq!(sim.requests().len(), asked + 1);
    assert_eq!(rest.report.status, Status::Committed);
    let store = workspace.store().unwrap();
    let days: u64 = store
        .scalar("SELECT count(DISTINCT event_time::DATE) FROM events")
        .unwrap();
    assert_eq!(days, 7);
}

#[test]
fn a_run_with_too_few_rows_fails() {
    let (_sim, _place, workspace) = project();
    let error = workspace
        .fetch_events(&week().min_rows(1_000_000))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(workspace.store().unwrap().list_tables().unwrap().is_empty());
}

#[test]
fn what_cannot_be_is_an_error_before_anything_is_asked() {
    let (sim, _place, workspace) = project();
    let kind = |request: Events| workspace.fetch_events(&request).unwrap_err().kind();
    assert_eq!(kind(week().workers(0)), ErrorKind::Config);
    assert_eq!(
        kind(Events::between("2024-13-01", "today")),
        ErrorKind::Config
    );
    assert_eq!(kind(week().delivery(Delivery::Direct)), ErrorKind::Config);
    let stream = workspace.stream_events(&week().transform(without("insert_id")));
    let error = stream.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(sim.requests().len(), 0);
    let batches = workspace.stream_batches(week().transform(without("insert_id")));
    let rows: usize = batches
        .unwrap()
        .map(|batch| batch.unwrap().num_rows())
        .sum();
    assert!(rows > 0);
}

#[test]
fn a_stream_that_has_ended_tells_of_its_rejects() {
    let place = Place::new();
    let sim = started(sim(Data::sample()).fault(fault(
        r#"export from=2024-01-01 times=1 bad_line=3 bytes="{""#,
    )));
    let workspace = builder(&sim, &place).build().unwrap();
    let mut stream = workspace.stream_events(&week()).unwrap();
    assert!(stream.report().is_none());
    let rows = stream.by_ref().map(Result::unwrap).count() as u64;
    let report = stream.report().unwrap();
    assert_eq!((report.row_count, report.rejected), (rows, 1));
    let file = report.reject_file.clone().unwrap();
    assert!(std::path::Path::new(&file).exists());
    assert_eq!(stream.finish().unwrap().partitions.len(), 7);
}

#[test]
fn a_stream_is_heard_and_cancelled() {
    let (_sim, _place, workspace) = project();
    let heard = Arc::new(Mutex::new(0));
    let told = Arc::clone(&heard);
    let observer = move |event: &RunEvent<'_>| {
        if let RunEvent::Planned { partitions, .. } = event {
            *told.lock().unwrap() = *partitions;
        }
    };
    let (guard, token) = cancellation();
    let mut stream = workspace
        .stream_events_with(&week(), observer, &token)
        .unwrap();
    stream.next().unwrap().unwrap();
    assert_eq!(*heard.lock().unwrap(), 7);
    drop(guard);
    let error = stream.find_map(Result::err).unwrap();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
}

#[test]
fn threads_share_a_workspace() {
    let (_sim, _place, workspace) = project();
    std::thread::scope(|scope| {
        for table in ["a", "b", "c"] {
            let workspace = &workspace;
            scope.spawn(move || {
                let request = week().table(table).wait(Duration::from_secs(60));
                workspace.fetch_events(&request).unwrap();
            });
        }
    });
    let tables = workspace.store().unwrap().list_tables().unwrap();
    let rows: Vec<_> = tables.iter().map(|table| table.row_count).collect();
    assert_eq!(rows.len(), 3);
    assert!(rows[0] > Some(0) && rows.iter().all(|each| *each == rows[0]));
}

#[test]
fn closing_says_whether_everything_is_there() {
    let (_sim, place, workspace) = project();
    workspace.fetch_events(&week()).unwrap();
    workspace.close().unwrap();
    assert!(!place.path("out.db.wal").exists());
    let ephemeral = Workspace::builder().ephemeral().build().unwrap();
    let path = ephemeral.store().unwrap().path().to_owned();
    ephemeral.close().unwrap();
    assert!(!path.exists());
    let used = Workspace::builder().ephemeral().build().unwrap();
    let store = used.store().unwrap();
    assert_eq!(used.close().unwrap_err().kind(), ErrorKind::Locked);
    let path = store.path().to_owned();
    assert!(path.exists());
    drop(store);
    assert!(!path.exists());
    let gone = Workspace::builder()
        .path(place.path("b.db"))
        .build()
        .unwrap();
    gone.store().unwrap();
    std::fs::remove_file(place.path("b.db")).unwrap();
    assert_eq!(gone.close().unwrap_err().kind(), ErrorKind::Io);
}

/// `cli/library/examples/async_stream.rs`, with a folder for temporary files.
fn asynchronous(sim: &Simulator, place: &Place) -> std::process::Command {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_mixflow"));
    let example = binary.parent().unwrap().join("examples/async_stream");
    let mut command = std::process::Command::new(example);
    command
        .args(["2024-01-01", "2024-01-02"])
        .env("MIXPANEL_PROJECT_ID", "12345")
        .env("MIXPANEL_USERNAME", "sim")
        .env("MIXPANEL_SECRET", SECRET)
        .env("MIXPANEL_BASE_URL", sim.base_url())
        .env("MIXFLOW_STATE_DIR", place.path("state"))
        .env("TMPDIR", place.path("tmp"))
        .stderr(std::process::Stdio::null());
    command
}

#[test]
fn an_async_program_fetches_and_streams() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    std::fs::create_dir(place.path("tmp")).unwrap();
    let output = asynchronous(&sim, &place).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    let rows = lines[0].strip_prefix("fetched ").unwrap();
    let rows = rows.strip_suffix(" rows").unwrap();
    assert!(rows.parse::<u64>().unwrap() > 0, "{said}");
    assert!(
        lines[1].starts_with(&format!("streamed {rows} events, ")),
        "{said}"
    );
}

/// Folders of ephemeral stores in a folder for temporary files.
fn stores_in(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.to_string_lossy().contains(".mixflow.db."))
        .collect()
}

/// A process that is killed removes nothing; the next one does it.
#[test]
fn an_ephemeral_store_of_a_dead_process_goes_and_that_of_a_living_one_stays() {
    let sim = started(sim(Data::sample()).fault(fault("export times=1 slow_first_byte=60s")));
    let place = Place::new();
    let temporary = place.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut hangs = asynchronous(&sim, &place).spawn().unwrap();
    while sim.requests().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let its_own = stores_in(&temporary);
    assert_eq!(its_own.len(), 1);
    assert!(
        asynchronous(&sim, &place)
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(stores_in(&temporary), its_own);
    hangs.kill().unwrap();
    hangs.wait().unwrap();
    assert_eq!(stores_in(&temporary), its_own);
    assert!(
        asynchronous(&sim, &place)
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(stores_in(&temporary), Vec::<std::path::PathBuf>::new());
}
