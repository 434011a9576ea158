//! 002 and 004: events and profiles to standard output, without a database.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, Endpoint, EngageQuery, ExportQuery, Fault, Matcher};
use serde_json::Value;

use super::{DAYS, DB, PRO, Project, days, progress};
use crate::rows::form::{
    Event, Profile, assert_same, expected_events, expected_profiles, in_lines,
};
use crate::support::{Ran, sim};

const NOTHING: [&str; 0] = [];

/// The lines that the simulator sends, as a file.
fn raw_lines<L: AsRef<[u8]>>(lines: &[L]) -> Vec<u8> {
    let lines = lines.iter().map(|line| [line.as_ref(), b"\n"].concat());
    lines.collect::<Vec<_>>().concat()
}

fn objects(lines: &[u8]) -> Vec<Value> {
    let lines = lines.split_inclusive(|&byte| byte == b'\n');
    lines
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

#[test]
fn seed_002_us1_1_events_are_streamed_without_a_database() {
    let project = Project::new();
    let ran = project.events(&["--stdout"]).ended(0);
    assert_same(&in_lines::<Event>(&ran.stdout), &project.expected());
    assert_eq!(project.place.names(), NOTHING);
}

/// Reads everything that a command writes, and returns the most memory that it
/// had meanwhile, in kB, and the number of bytes.
#[cfg(target_os = "linux")]
fn peak_memory(mut command: Command) -> (u64, usize) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut peak, mut bytes) = (0, 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        // A process that has ended has no memory.
        if let Some(mark) = mark {
            peak = mark.trim().trim_end_matches(" kB").parse().unwrap();
        }
        match stdout.read(&mut buffer).unwrap() {
            0 => break,
            read => bytes += read,
        }
    }
    assert!(child.wait().unwrap().success());
    (peak, bytes)
}

/// So many more bytes through the process are not 10 MB more in it: how many
/// blocks wait for the next thread is chance, up to a bound.
#[cfg(target_os = "linux")]
fn assert_memory_is_constant(few: (u64, usize), many: (u64, usize), more: usize) {
    assert!(many.1 - few.1 > more, "{few:?}, {many:?}");
    assert!(many.0 < few.0 + 10_000, "{few:?}, {many:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn seed_002_us1_2_memory_does_not_grow_with_the_events() {
    // Of a body that is large already, so that all cores decode it.
    let [few, many] = [100_000, 300_000].map(|events| {
        let data = Data::generated_between(date(2024, 1, 2), date(2024, 1, 2), events, 0, 7);
        let project = Project::of(sim(data));
        peak_memory(project.command_for_events(&["--stdout"]))
    });
    assert_memory_is_constant(few, many, 150_000_000);
}

#[test]
fn seed_002_us1_3_only_the_named_events_are_streamed() {
    let project = Project::new();
    let ran = project
        .events(&["--stdout", "--event", "checkout"])
        .ended(0);
    let query = ExportQuery {
        events: vec!["checkout".to_owned()],
        ..days()
    };
    let expected = expected_events(&project.sim, &query);
    assert!((1..900).contains(&expected.len()));
    assert_same(&in_lines::<Event>(&ran.stdout), &expected);
}

#[test]
fn seed_002_us1_4_only_events_that_match_the_expression_are_streamed() {
    let project = Project::new();
    let ran = project.events(&["--stdout", "--where", PRO]).ended(0);
    let query = ExportQuery {
        where_: Some(PRO.to_owned()),
        ..days()
    };
    let expected = expected_events(&project.sim, &query);
    assert!((1..900).contains(&expected.len()));
    assert_same(&in_lines::<Event>(&ran.stdout), &expected);
}

#[test]
fn seed_002_us2_1_each_event_is_a_line() {
    let project = Project::new();
    let ran = project.events(&["--stdout"]).ended(0);
    assert!(ran.stdout.ends_with(b"\n"));
    let lines = ran.stdout.split_inclusive(|&byte| byte == b'\n').count();
    assert_eq!(lines, project.expected().len());
}

/// Runs `fetch events --stdout | …`.
fn piped(project: &Project, tool: &mut Command) -> Vec<u8> {
    let mut fetch = project.command_for_events(&["--stdout"]);
    let mut fetch = fetch.stdout(Stdio::piped()).spawn().unwrap();
    let output = tool.stdin(fetch.stdout.take().unwrap()).output().unwrap();
    assert!(fetch.wait().unwrap().success());
    assert!(output.status.success());
    output.stdout
}

#[test]
fn seed_002_us2_2_each_line_that_is_piped_is_json_by_itself() {
    let project = Project::new();
    // Any line alone must do, so they come in another order.
    let sorted = piped(&project, &mut Command::new("sort"));
    let mut names: Vec<String> = objects(&sorted)
        .iter()
        .map(|line| line["event_name"].as_str().unwrap().to_owned())
        .collect();
    let mut expected: Vec<String> = project
        .expected()
        .into_iter()
        .map(|row| row.event_name)
        .collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn seed_002_us2_3_a_file_has_one_object_a_line() {
    let project = Project::new();
    let file = std::fs::File::create(project.place.path("events.jsonl")).unwrap();
    let mut command = project.command_for_events(&["--stdout"]);
    assert!(command.stdout(file).status().unwrap().success());
    let written = std::fs::read(project.place.path("events.jsonl")).unwrap();
    assert!(objects(&written).iter().all(Value::is_object));
    assert_same(&in_lines::<Event>(&written), &project.expected());
}

#[test]
fn seed_002_us2_4_a_table_need_not_be_named() {
    let project = Project::new();
    let without = project.events(&["--stdout"]).ended(0).stdout;
    // Nor does one do anything.
    let with = project.events(&["mine", "--stdout"]).ended(0).stdout;
    assert!(!without.is_empty() && without == with);
    assert_eq!(project.place.names(), NOTHING);
}

#[test]
fn seed_002_us3_1_profiles_are_streamed_without_a_database() {
    let project = Project::new();
    let ran = project.profiles(&["--stdout"]).ended(0);
    let expected = expected_profiles(&project.sim, &EngageQuery::default());
    assert_eq!(expected.len(), 450);
    assert_same(&in_lines::<Profile>(&ran.stdout), &expected);
    assert_eq!(project.place.names(), NOTHING);
}

#[test]
fn seed_002_us3_2_only_profiles_that_match_the_expression_are_streamed() {
    let project = Project::new();
    let ran = project.profiles(&["--stdout", "--where", PRO]).ended(0);
    let query = EngageQuery {
        where_: Some(PRO.to_owned()),
        ..EngageQuery::default()
    };
    let expected = expected_profiles(&project.sim, &query);
    assert!((1..450).contains(&expected.len()));
    assert_same(&in_lines::<Profile>(&ran.stdout), &expected);
}

#[cfg(target_os = "linux")]
#[test]
fn seed_002_us3_3_memory_does_not_grow_with_the_profiles() {
    let [few, many] = [2_000, 42_000].map(|profiles| {
        let builder = sim(Data::generated(0, profiles, 3));
        peak_memory(Project::of(builder).command(&["profiles"], &["--stdout"]))
    });
    assert_memory_is_constant(few, many, 12_000_000);
}

#[test]
fn seed_002_us4_1_events_are_normalised_unless_told_otherwise() {
    let line = r#"{"event":"Käufe","properties":{"time":1704153600,"distinct_id":"u1","plan":"pro","$insert_id":"i1","n":1.10}}"#;
    let project = Project::of(sim(Data::from_lines([line], []).unwrap()));
    insta::assert_snapshot!(
        project.events(&["--stdout"]).ended(0).stdout_lossy(),
        @r#"{"event_name":"Käufe","event_time":"2024-01-02T00:00:00Z","distinct_id":"u1","insert_id":"i1","properties":{"plan":"pro","n":1.10}}"#
    );
}

#[test]
fn seed_002_us4_2_raw_events_are_what_mixpanel_sends() {
    let project = Project::new();
    let ran = project.events(&["--stdout", "--raw"]).ended(0);
    let expected = raw_lines(&project.sim.expected_events(&days()));
    assert!(!expected.is_empty() && ran.stdout == expected);
    for line in objects(&ran.stdout) {
        assert!(line["event"].is_string() && line["properties"]["time"].is_i64());
    }
}

#[test]
fn seed_002_us4_3_profiles_are_normalised_unless_told_otherwise() {
    let line = r#"{"$distinct_id":"u1","$properties":{"plan":"pro","$last_seen":"2024-01-01T00:00:00","n":1.10}}"#;
    let project = Project::of(sim(Data::from_lines([], [line]).unwrap()));
    insta::assert_snapshot!(
        project.profiles(&["--stdout"]).ended(0).stdout_lossy(),
        @r#"{"distinct_id":"u1","last_seen":"2024-01-01T00:00:00Z","properties":{"plan":"pro","n":1.10}}"#
    );
}

#[test]
fn seed_002_us4_4_raw_profiles_are_what_mixpanel_sends() {
    let project = Project::new();
    let ran = project.profiles(&["--stdout", "--raw"]).ended(0);
    let query = EngageQuery::default();
    let expected = raw_lines(&project.sim.expected_profiles(&query));
    assert!(!expected.is_empty() && ran.stdout == expected);
    for line in objects(&ran.stdout) {
        assert!(line["$distinct_id"].is_string() && line["$properties"].is_object());
    }
}

/// A fetch of an answer that stops in its middle, for longer than any test runs.
fn stuck() -> (Project, Child) {
    let stop = Action::SlowBody {
        bytes_per_chunk: 600_000,
        pause: Duration::from_secs(600),
    };
    let data = Data::generated_between(date(2024, 1, 2), date(2024, 1, 2), 10_000, 0, 7);
    let project = Project::of(sim(data).fault(Fault::always(Matcher::export(), stop)));
    let mut command = project.command_for_events(&["--stdout"]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    (project, child)
}

#[test]
fn seed_002_fr_004_rows_go_out_before_the_answer_is_complete() {
    let (project, mut child) = stuck();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let lines: Vec<String> = stdout.lines().take(100).map(Result::unwrap).collect();
    let rows: Vec<Event> = in_lines((lines.join("\n") + "\n").as_bytes());
    assert_same(&rows, &project.expected()[..100]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn seed_002_edge_rows_before_an_interrupt_are_not_lost() {
    let (project, mut child) = stuck();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut lines = Vec::new();
    stdout.read_until(b'\n', &mut lines).unwrap();
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", "INT", &pid]).status();
    assert!(sent.unwrap().success());
    stdout.read_to_end(&mut lines).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let rows: Vec<Event> = in_lines(&lines);
    assert!((1..10_000).contains(&rows.len()));
    assert_same(&rows, &project.expected()[..rows.len()]);
    assert_eq!(project.report()["row_count"], rows.len());
}

#[test]
fn seed_002_edge_wrong_credentials_are_told_before_any_row() {
    let project = Project::new();
    for args in [[&["events"], &DAYS[..]].concat(), vec!["profiles"]] {
        let mut command = project.command(&args, &["--stdout"]);
        let output = command.env("MIXPANEL_USERNAME", "nobody").output();
        let ran = Ran::of(output.unwrap());
        let ran = ran.ended(4).says("the server answered 401 Unauthorized");
        assert_eq!(ran.stdout, b"");
    }
    assert_eq!(project.sim.requests().len(), 2);
}

#[test]
fn seed_002_edge_days_without_events_are_no_error() {
    let project = Project::of(sim(Data::default()));
    let ran = project.events(&["--stdout"]).ended(0);
    assert_eq!(ran.stdout, b"");
    assert_eq!(project.report()["status"], "committed");
}

#[test]
fn seed_002_edge_progress_is_on_stderr() {
    let project = Project::new();
    let args = ["--stdout", "--progress", "json"];
    let ran = project.events(&args).ended(0);
    assert_eq!(progress(&ran, "partition_done").len(), 3);
    assert_same(&in_lines::<Event>(&ran.stdout), &project.expected());
}

#[test]
fn seed_002_fr_007_streamed_rows_are_the_stored_ones() {
    let project = Project::new();
    project.events(&[]).ended(0);
    project.profiles(&[]).ended(0);
    let events = project.events(&["--stdout"]).ended(0).stdout;
    assert_same(&in_lines::<Event>(&events), &project.table("events"));
    let profiles = project.profiles(&["--stdout"]).ended(0).stdout;
    assert_same(&in_lines::<Profile>(&profiles), &project.table("profiles"));
}

#[test]
fn seed_002_fr_016_network_errors_are_the_same_with_and_without_a_database() {
    let project = Project::new();
    project
        .sim
        .add_fault(Fault::always(Matcher::export(), Action::Drop));
    let [stored, streamed] = [vec![], vec!["--stdout"]].map(|args| {
        let ran = project.events(&args).ended(1);
        assert_eq!(ran.stdout, b"");
        let report = project.report();
        let partition = &report["partitions"][0];
        let facts = ["label", "status", "attempts", "error"].map(|key| partition[key].clone());
        (report["error"].clone(), facts)
    });
    assert_eq!(stored.0["kind"], "network");
    assert_eq!(stored.1[2], 5);
    assert_eq!(stored, streamed);
}

#[test]
fn seed_002_sc_003_the_output_can_be_read_by_jq() {
    if Command::new("jq").arg("--version").output().is_err() {
        eprintln!("skipped: there is no jq");
        return;
    }
    let project = Project::new();
    let filter = "select(.event_name == \"checkout\") | .insert_id";
    let found = piped(&project, Command::new("jq").args(["-r", filter]));
    let mut expected = project.expected();
    expected.retain(|row| row.event_name == "checkout");
    let expected: Vec<String> = expected.into_iter().map(|row| row.insert_id).collect();
    assert!(!expected.is_empty());
    let found = String::from_utf8(found).unwrap();
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}

/// What was asked of Mixpanel, without what a snapshot is called.
fn asked(project: &Project, endpoint: Endpoint) -> Vec<Vec<(String, String)>> {
    let requests = project.sim.requests_to(endpoint).into_iter();
    let mut asked: Vec<_> = requests
        .map(|request| {
            let mut params = [request.query, request.form].concat();
            params.retain(|(name, _)| name != "session_id");
            params
        })
        .collect();
    project.sim.clear_log();
    asked.sort();
    asked
}

#[test]
fn seed_002_sc_004_every_filter_asks_for_the_same_with_and_without_a_database() {
    let project = Project::new();
    for filter in [
        vec!["--events", "checkout,sign up"],
        vec!["--event", "a, b"],
        vec!["--where", PRO],
        vec!["--limit", "9", "--window-days", "3"],
    ] {
        let from = ["events", "--from", "2024-01-02", "--to", "2024-01-04"];
        let ask = |more: &[&str]| {
            let output = project.command(&from, &[&filter, more].concat()).output();
            Ran::of(output.unwrap()).ended(0);
            asked(&project, Endpoint::Export)
        };
        assert_eq!(
            ask(&["--stdout"]),
            ask(&["--replace", "--allow-shrink"]),
            "{filter:?}"
        );
    }
    for filter in [
        vec!["--where", PRO],
        vec!["--cohort", "3"],
        vec!["--output-property", "plan"],
        vec!["--distinct-id", "a", "--distinct-id", "b"],
        vec!["--group-id", "7"],
    ] {
        let ask = |more: &[&str]| {
            project.profiles(&[&filter, more].concat()).ended(0);
            asked(&project, Endpoint::Engage)
        };
        assert_eq!(
            ask(&["--stdout"]),
            ask(&["--replace", "--allow-shrink"]),
            "{filter:?}"
        );
    }
}

#[test]
fn seed_002_sc_006_one_configuration_does_for_both() {
    let project = Project::new();
    let url = project.sim.base_url();
    let source = format!(
        "[source]\nproject_id = 12345\nbase_url = \"{url}\"
         auth = {{ username = \"sim\", secret = {{ env = \"SIM_SECRET\" }} }}"
    );
    project.place.write("both.toml", &source);
    let fetch = |more: &[&str]| {
        let first = [&["fetch", "events", "--config", "both.toml"], &DAYS[..]];
        let args = [&first.concat(), more].concat();
        project.place.mixflow(&args).ended(0).stdout
    };
    assert_same(
        &in_lines::<Event>(&fetch(&["--stdout"])),
        &project.expected(),
    );
    assert_eq!(fetch(&[]), b"");
    assert_same(&project.table::<Event>("events"), &project.expected());
}

/// The pipeline that reads line by line and sends each row on.
#[test]
fn seed_004_1_a_program_reads_rows_as_they_come_and_loads_them() {
    let project = Project::new();
    let fetch = project.place.path("rows.jsonl");
    let mut tee = Command::new("tee");
    piped(&project, tee.arg(&fetch));
    let sql = format!(
        "SELECT count(*), count(DISTINCT insert_id), CAST(max(event_time) < TIMESTAMP '2024-01-05' AS VARCHAR) FROM read_json('{}')",
        fetch.display()
    );
    // Any database will do to ask DuckDB for something.
    project.events(&[]).ended(0);
    let rows = project.expected().len().to_string();
    assert_eq!(project.place.sql(DB, &sql), [[&rows, &rows, "true"]]);
}

#[test]
fn seed_004_2_lines_go_through_a_filter_of_the_shell() {
    let project = Project::new();
    let mut grep = Command::new("grep");
    let found = piped(&project, grep.arg("\"event_name\":\"checkout\""));
    let mut expected = project.expected();
    expected.retain(|row| row.event_name == "checkout");
    assert!(!expected.is_empty());
    assert_same(&in_lines::<Event>(&found), &expected);
}

#[test]
fn seed_004_3_a_sum_over_one_kind_of_event_is_the_models() {
    let project = Project::new();
    let ran = project
        .events(&["--stdout", "--event", "checkout"])
        .ended(0);
    let price = |properties: &Value| (properties["price"].as_f64().unwrap() * 100.0).round();
    let found: f64 = objects(&ran.stdout)
        .iter()
        .map(|row| price(&row["properties"]))
        .sum();
    let sent = objects(&raw_lines(&project.sim.expected_events(&days())));
    let expected: f64 = sent
        .iter()
        .filter(|record| record["event"] == "checkout")
        .map(|record| price(&record["properties"]))
        .sum();
    assert!(expected > 0.0);
    assert_eq!(found, expected);
}

#[test]
fn seed_004_4_a_program_for_mixpanels_form_reads_raw_rows() {
    let project = Project::new();
    let ran = project.events(&["--stdout", "--raw"]).ended(0);
    let records = Data::from_lines(ran.stdout.trim_ascii_end().split(|&byte| byte == b'\n'), []);
    // The simulator reads Mixpanel's form, and now has what it sent.
    project.sim.set_data(records.unwrap());
    let again = project.events(&["--stdout", "--raw"]).ended(0);
    assert!(!again.stdout.is_empty() && again.stdout == ran.stdout);
}
