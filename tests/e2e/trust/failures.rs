//! Runs that fail: what is said, what is left, and the exit code.

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, Endpoint, ExportQuery, Fault, Matcher, Simulator};
use serde_json::json;

use crate::rows::form::{Event, assert_same, expected_events, in_lines, in_table, sorted};
use crate::support::{DUCKDB, Place, STDOUT, events, pipeline, profiles, sim, started, workers};

fn three_days() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 3), 900, 1_100, 7)
}

const THREE: &str = "from = \"2024-01-01\"\nto = \"2024-01-03\"\nwindow_days = 1\n";

fn days(from: i8, to: i8) -> ExportQuery {
    ExportQuery::new(date(2024, 1, from), date(2024, 1, to))
}

fn refusing(code: u16, body: Option<&str>) -> Simulator {
    started(sim(three_days()).fault(Fault::always(
        Matcher::export(),
        Action::Status {
            code,
            retry_after: None,
            body: body.map(str::to_owned),
        },
    )))
}

#[test]
fn wrong_credentials_end_with_4_and_create_nothing() {
    let sim = started(sim(three_days()));
    for source in [events(&sim, THREE), profiles(&sim, "")] {
        let source = source.replace("username = \"sim\"", "username = \"somebody\"");
        for sink in [DUCKDB, "[sink]\ntype = \"parquet\"\npath = \"out\"\n"] {
            sim.clear_log();
            let place = Place::new();
            let (ran, report) = place.run(&pipeline(&[&source, sink]));
            ran.ended(4)
                .says("the server answered 401 Unauthorized")
                .says("hint: check that the credentials are right and belong to project 12345")
                .says("nothing was written");
            assert_eq!(report["error"]["kind"], "auth");
            assert_eq!(sim.requests().len(), 1);
            assert_eq!(place.names(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_replace_with_wrong_credentials_keeps_the_old_table() {
    let sim = started(sim(three_days()));
    let place = Place::new();
    place
        .run(&pipeline(&[&events(&sim, THREE), DUCKDB]))
        .0
        .ended(0);
    let before: Vec<Event> = in_table(&place.path("out.db"), "events");
    let wrong = events(&sim, THREE).replace("username = \"sim\"", "username = \"somebody\"");
    for n in [1, 3] {
        let replace = format!("{DUCKDB}mode = \"replace\"\n{}", workers(n));
        let (ran, _) = place.run(&pipeline(&[&wrong, &replace]));
        ran.ended(4).says("is as it was before");
        assert_same(&in_table::<Event>(&place.path("out.db"), "events"), &before);
    }
}

#[test]
fn permission_and_plan_end_with_4_and_say_what_to_do() {
    for (code, body, hint) in [
        (402, None, "plan does not include /api/2.0/export"),
        (403, None, "may use /api/2.0/export"),
        (
            400,
            Some("{\"error\": \"Unable to authenticate request\"}"),
            "have expired",
        ),
    ] {
        let sim = refusing(code, body);
        let (ran, _) = Place::new().run(&pipeline(&[&events(&sim, THREE), DUCKDB]));
        ran.ended(4).says(hint);
        assert_eq!(sim.requests().len(), 1);
    }
}

#[test]
fn wrong_credentials_end_a_run_that_keeps_what_it_can() {
    let sim = refusing(401, None);
    let place = Place::new();
    let (ran, _) = place.run(&pipeline(&[&events(&sim, THREE), DUCKDB, &workers(3)]));
    ran.ended(4);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn the_servers_words_are_shown_but_not_all_of_them() {
    let long = format!("no good {}", "x".repeat(5_000));
    let sim = refusing(400, Some(&long));
    let (ran, _) = Place::new().run(&pipeline(&[&events(&sim, THREE), DUCKDB]));
    let ran = ran.ended(1).says("no good xxx");
    assert!(ran.stderr.len() < 800, "{}", ran.stderr);
}

#[test]
fn keep_commits_the_good_windows_and_names_the_bad_ones() {
    let sim = started(sim(three_days()).fault(Fault::always(
        Matcher::export_from(date(2024, 1, 2)),
        Action::Status {
            code: 500,
            retry_after: None,
            body: None,
        },
    )));
    let place = Place::new();
    let (ran, report) = place.run(&pipeline(&[&events(&sim, THREE), DUCKDB, &workers(2)]));
    ran.ended(3).says("missing: 2024-01-02");
    assert_eq!(report["status"], "partial");
    assert_eq!(report["failed_partitions"], json!(["2024-01-02"]));
    let rows: Vec<Event> = in_table(&place.path("out.db"), "events");
    let good = [
        expected_events(&sim, &days(1, 1)),
        expected_events(&sim, &days(3, 3)),
    ]
    .concat();
    assert_eq!(report["row_count"], good.len());
    assert_same(&sorted(rows), &sorted(good));
    let missing = place.sql(
        "out.db",
        "SELECT status, missing->0->>'partition', missing->0->>'from', row_count FROM _metadata",
    );
    assert_eq!(missing[0][..3], ["partial", "2024-01-02", "2024-01-02"]);
    assert_eq!(missing[0][3], report["row_count"].to_string());

    // The day comes later, and then nothing is missing any more.
    sim.clear_faults();
    let again = events(
        &sim,
        "from = \"2024-01-02\"\nto = \"2024-01-02\"\nwindow_days = 1\n",
    );
    let sink = format!("{DUCKDB}mode = \"replace_window\"\n");
    place.run(&pipeline(&[&again, &sink])).0.ended(0);
    assert_same(
        &sorted(in_table::<Event>(&place.path("out.db"), "events")),
        &sorted(expected_events(&sim, &days(1, 3))),
    );
    let status = place.sql(
        "out.db",
        "SELECT status, missing, from_date, to_date FROM _metadata",
    );
    assert_eq!(
        status[0][..],
        ["committed", "[]", "2024-01-01", "2024-01-03"]
    );
}

#[test]
fn abort_commits_nothing() {
    let sim = started(sim(three_days()).fault(Fault::always(
        Matcher::export_from(date(2024, 1, 2)),
        Action::Drop,
    )));
    let abort = "[run]\nworkers = 2\non_failure = \"abort\"\n";
    let place = Place::new();
    let (ran, report) = place.run(&pipeline(&[&events(&sim, THREE), DUCKDB, abort]));
    ran.ended(1).says("could not be had in 5 tries");
    assert_eq!(report["residue"], "none");
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn a_missing_page_of_profiles_is_named_by_its_number() {
    let sim = started(
        sim(three_days())
            .page_size(100)
            .fault(Fault::always(Matcher::engage_page(4), Action::Drop)),
    );
    let place = Place::new();
    let (ran, report) = place.run(&pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(5)]));
    ran.ended(3).says("missing: page 4");
    assert_eq!(report["failed_partitions"], json!(["page 4"]));
    assert_eq!(report["row_count"], 1_000);
}

#[test]
fn page_0_failing_stores_nothing() {
    let sim =
        started(sim(three_days()).fault(Fault::always(Matcher::engage_page(0), Action::Drop)));
    let place = Place::new();
    let (ran, _) = place.run(&pipeline(&[&profiles(&sim, ""), DUCKDB, &workers(5)]));
    ran.ended(1);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn a_server_that_is_not_there_is_a_network_error() {
    let sim = started(sim(three_days()));
    let source = events(&sim, THREE);
    let address = sim.base_url().to_owned();
    drop(sim);
    let (ran, report) = Place::new().run(&pipeline(&[&source, DUCKDB]));
    ran.ended(1).says(&format!("cannot reach {address}"));
    assert_eq!(report["error"]["kind"], "network");
}

#[test]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    let data = Data::generated_between(date(2024, 1, 1), date(2024, 1, 1), 60_000, 0, 7);
    let sim = started(sim(data));
    let place = Place::new();
    let source = events(&sim, "from = \"2024-01-01\"\nto = \"2024-01-01\"");
    place.write("test.toml", &pipeline(&[&source, STDOUT]));
    let mut child = place.spawn(&["run", "test.toml", "--report", "report.json"]);
    // Not even a line is read.
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(!said.contains("error") && !said.contains("panic"), "{said}");
    assert!(
        place
            .read("report.json")
            .contains("\"status\": \"stopped\"")
    );
}

#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let sim = started(sim(three_days()));
    let place = Place::new();
    place.write("test.toml", &pipeline(&[&events(&sim, THREE), STDOUT]));
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = place
        .command(&["run", "test.toml"])
        .stdout(full)
        .output()
        .unwrap();
    crate::support::Ran::of(output)
        .ended(1)
        .says("cannot write to standard output")
        .says("No space left on device");
}

#[test]
fn records_that_cannot_be_read_are_put_aside() {
    let mut data = three_days();
    let bad: [&[u8]; 4] = [
        b"{\"event\": \"no properties\"}",
        b"{\"properties\": {\"time\": 1}}",
        b"{\"event\": \"x\", \"properties\": {\"time\": \"noon\"}}",
        b"{\"event\": \"\xff\xfe\", \"properties\": }",
    ];
    for line in bad {
        data.add_raw_line(date(2024, 1, 2), line);
    }
    // A last line that cannot be read would be one that was cut.
    let good = br#"{"event": "good", "properties": {"time": 1704200000}}"#;
    data.add_raw_line(date(2024, 1, 2), good);
    let sim = started(sim(data));
    let place = Place::new();
    let (ran, report) = place.run(&pipeline(&[&events(&sim, THREE), STDOUT]));
    let ran = ran.ended(0).says("4 records could not be read");
    assert_eq!(report["rejected"], 4);
    assert_eq!(in_lines::<Event>(&ran.stdout).len(), 901);
    let file = report["reject_file"].as_str().unwrap();
    let rejects: Vec<serde_json::Value> = std::fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rejects.len(), 4);
    let lines: Vec<u64> = rejects
        .iter()
        .map(|r| r["line"].as_u64().unwrap())
        .collect();
    assert!((0..4).all(|n| lines[n] == lines[0] + n as u64), "{lines:?}");
    for (reject, line) in rejects.iter().zip(&bad) {
        assert_eq!(reject["partition"], "2024-01-02");
        assert_eq!(reject["record"], *String::from_utf8_lossy(line));
    }
    assert_eq!(rejects[0]["reason"], "there is no `properties` object");
    assert!(rejects[3]["record_hex"].as_str().unwrap().contains("fffe"));

    let (ran, report) = place.run(&pipeline(&[
        &events(&sim, &format!("{THREE}max_rejects = 3")),
        DUCKDB,
    ]));
    ran.ended(1).says("more than 3 records cannot be read");
    assert_eq!(report["error"]["kind"], "data");
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn fewer_rows_than_min_rows_fail_the_run() {
    let sim = started(sim(three_days()));
    let place = Place::new();
    let run = |least| {
        let more = format!("[run]\nmin_rows = {least}\n");
        place
            .run(&pipeline(&[&events(&sim, THREE), DUCKDB, &more]))
            .0
    };
    run(901)
        .ended(1)
        .says("900 rows arrived, fewer than `min_rows = 901`");
    assert_eq!(place.names(), Vec::<String>::new());
    run(900).ended(0);
}

#[test]
fn more_workers_than_allowed_are_capped_with_a_warning() {
    let latency = std::time::Duration::from_millis(20);
    let sim = started(sim(three_days()).page_size(50).latency(latency));
    let (ran, _) = Place::new().run(&pipeline(&[&profiles(&sim, ""), STDOUT, &workers(9)]));
    ran.ended(0).says("so 5 are used");
    assert_eq!(sim.peak_concurrency_of(Endpoint::Engage), 5);
}

#[test]
fn many_pages_are_warned_about_before_page_1_is_asked_for() {
    let pages =
        |n: usize| {
            // A bad page 1 ends the run right there.
            let sim = started(sim(Data::generated(0, n * 10, 3)).page_size(10).fault(
                Fault::always(
                    Matcher::engage_page(1),
                    Action::Status {
                        code: 404,
                        retry_after: None,
                        body: None,
                    },
                ),
            ));
            let source = profiles(&sim, "").replace("per_hour = 10000", "per_hour = 60");
            let (ran, _) = Place::new().run(&pipeline(&[&source, STDOUT]));
            ran.ended(1).stderr
        };
    // With the one that proves the end.
    let warning = "48 pages are 80 % of the 60 requests";
    assert!(pages(47).contains(warning));
    assert!(!pages(46).contains("of the 60 requests"));
}
