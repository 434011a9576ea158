//! Commits of what machines have left.

use std::time::Duration;

use mixflow_tests::sim::{Action, Data, Fault, Matcher, Simulator};
use serde_json::Value;

use super::{Machines, SINK, days};
use crate::support::{Place, events, pipeline, profiles, sim, started};

/// Returns what a ledger says of a pipeline's days, but for when and by whom.
pub(super) fn status(place: &Place, file: &str) -> Vec<String> {
    let ran = place
        .mixflow(&["status", file, "--format", "jsonl"])
        .ended(0);
    let text = ran.stdout_lossy();
    let lines = text.lines().map(|line| {
        let mut day: Value = serde_json::from_str(line).unwrap();
        let day = day.as_object_mut().unwrap();
        day.remove("run_id");
        day.remove("fetched_at");
        Value::Object(day.clone()).to_string()
    });
    lines.collect()
}

/// Runs the same pipeline plainly, into `plain.db`, and returns it.
fn plainly(machines: &Machines) -> String {
    let text = machines
        .place
        .read("test.toml")
        .replace("out.db", "plain.db");
    machines.place.write("plain.toml", &text);
    machines.place.mixflow(&["run", "plain.toml"]).ended(0);
    text
}

#[test]
fn what_machines_leave_is_what_a_run_would_have_fetched() {
    let sim = started(sim(Data::sample()));
    let machines = Machines::of_days(&sim, 1, 14);
    for n in 0..14 {
        machines.unit(n % 3, n).ended(0);
    }
    assert_eq!(sim.requests().len(), 14);
    let report = ["--report", "report.json"];
    machines.commit(7, &report).ended(0);
    assert_eq!(sim.requests().len(), 14);
    plainly(&machines);
    assert_eq!(machines.rows("out.db"), machines.rows("plain.db"));
    assert_eq!(
        status(&machines.place, "test.toml"),
        status(&machines.place, "plain.toml")
    );
    let report: Value = serde_json::from_str(&machines.place.read("report.json")).unwrap();
    assert_eq!(report["status"], "committed");
    assert_eq!(report["requests"], 0);
    assert_eq!(report["source"], "stage");
    assert_eq!(report["row_count"], report["read"]);
}

#[test]
fn a_second_commit_does_nothing_on_any_machine() {
    for mode in ["replace_window", "append", "create", "replace"] {
        let sim = started(sim(Data::sample()));
        let sink = SINK.replace("replace_window", mode);
        let machines = Machines::planning(&days(&sim, 1, 3, &sink));
        for n in 0..3 {
            machines.unit(n, n).ended(0);
        }
        machines.commit(4, &[]).ended(0);
        let rows = machines.rows("out.db");
        assert!(!rows.is_empty());
        machines
            .commit(5, &[])
            .ended(0)
            .says("already, so there is nothing to do");
        // A machine that died before it could note it has committed all the same.
        let plan = machines.planned();
        let plan = plan["plan_id"].as_str().unwrap();
        let note = machines.place.path(format!("stage/{plan}/commit.json"));
        std::fs::remove_file(note).unwrap();
        machines.commit(6, &[]).ended(0);
        assert_eq!(machines.rows("out.db"), rows, "{mode}");
    }
}

#[test]
fn nothing_is_committed_while_units_are_missing() {
    let sim = started(sim(Data::sample()));
    let machines = Machines::of_days(&sim, 1, 4);
    machines.unit(1, 0).ended(0);
    machines.unit(1, 2).ended(0);
    machines
        .commit(1, &["--report", "report.json"])
        .ended(3)
        .says("nobody has left 2 units of it")
        .says("2024-01-02, 2024-01-04");
    let report: Value = serde_json::from_str(&machines.place.read("report.json")).unwrap();
    assert_eq!(
        report["failed_partitions"],
        serde_json::json!(["2024-01-02", "2024-01-04"])
    );
    assert!(!machines.place.path("out.db").exists());
    machines.commit(1, &["--allow-missing"]).ended(3);
    let held = |days: &[&str]| {
        let sql = "SELECT DISTINCT event_time::DATE FROM events ORDER BY ALL";
        let found: Vec<String> = machines.place.sql("out.db", sql).concat();
        assert_eq!(found, days);
    };
    held(&["2024-01-01", "2024-01-03"]);
    let gaps = machines.place.mixflow(&[
        "gaps",
        "test.toml",
        "--from",
        "2024-01-01",
        "--to",
        "2024-01-04",
        "--format",
        "csv",
    ]);
    assert_eq!(
        gaps.ended(3).stdout_lossy(),
        "first,last,days\n2024-01-02,2024-01-02,1\n2024-01-04,2024-01-04,1\n"
    );
    machines.unit(2, 1).ended(0);
    machines.unit(2, 3).ended(0);
    machines.commit(2, &[]).ended(0);
    plainly(&machines);
    assert_eq!(machines.rows("out.db"), machines.rows("plain.db"));
    assert_eq!(
        status(&machines.place, "test.toml"),
        status(&machines.place, "plain.toml")
    );
}

#[test]
fn missing_units_may_be_missing_only_where_they_can_be_added() {
    let sim = started(sim(Data::sample()));
    let machines = Machines::planning(&days(
        &sim,
        1,
        2,
        &SINK.replace("replace_window", "replace"),
    ));
    machines.unit(1, 0).ended(0);
    machines
        .commit(1, &["--allow-missing"])
        .ended(2)
        .says("can be committed only as a whole");
    assert!(!machines.place.path("out.db").exists());
}

#[test]
fn a_damaged_part_is_refused() {
    let sim = started(sim(Data::sample()));
    let machines = Machines::of_days(&sim, 1, 2);
    for n in 0..2 {
        machines.unit(n, n).ended(0);
    }
    let plan = machines.planned();
    let plan = plan["plan_id"].as_str().unwrap();
    let part = &machines.staged("parts")[0];
    let part = machines.place.path(format!("stage/{plan}/parts/{part}"));
    let whole = std::fs::read(&part).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for (bytes, says) in [
        (damaged, "its SHA-256 is another one"),
        (whole[..whole.len() - 1].to_vec(), "bytes, and had"),
    ] {
        std::fs::write(&part, bytes).unwrap();
        machines.commit(1, &[]).ended(1).says(says);
    }
    std::fs::remove_file(&part).unwrap();
    machines.commit(1, &[]).ended(1).says("it is not there");
    assert!(!machines.place.path("out.db").exists());
    std::fs::write(&part, whole).unwrap();
    machines.commit(1, &[]).ended(0);
}

#[test]
fn rejects_duplicates_and_dropped_rows_are_those_of_the_units() {
    let mut data = Data::sample();
    data.add_raw_line(jiff::civil::date(2024, 1, 1), b"{\"event\": 7}");
    let sim = started(sim(data));
    let transforms = "[[transform]]\ntype = \"filter\"\nwhere = \"event_name <> 'Sign Up'\"\n[[transform]]\ntype = \"dedupe\"\n";
    let source = events(&sim, "from = \"2024-01-01\"\nto = \"2024-01-03\"");
    let machines = Machines::planning(&pipeline(&[&source, transforms, SINK]));
    for n in 0..3 {
        machines.unit(n, n).ended(0);
    }
    machines.commit(1, &["--report", "report.json"]).ended(0);
    let staged: Value = serde_json::from_str(&machines.place.read("report.json")).unwrap();
    let text = plainly(&machines);
    let (_, plain) = machines.place.run(&text.replace("plain.db", "other.db"));
    for key in [
        "row_count",
        "read",
        "dropped",
        "rejected",
        "duplicates",
        "from_date",
        "to_date",
    ] {
        assert_eq!(staged[key], plain[key], "{key}");
    }
    assert_eq!(staged["rejected"], 1);
    assert_eq!(machines.rows("out.db"), machines.rows("plain.db"));
}

#[test]
fn columns_that_go_by_the_rows_are_chosen_at_the_commit() {
    let sim = started(sim(Data::sample()));
    let source = events(&sim, "from = \"2024-01-01\"\nto = \"2024-01-04\"");
    let auto = "[[transform]]\ntype = \"extract\"\ncolumns = \"auto\"\n";
    let machines = Machines::planning(&pipeline(&[&source, auto, SINK]));
    for n in (0..4).rev() {
        machines.unit(n, n).ended(0);
    }
    machines.commit(1, &[]).ended(0);
    plainly(&machines);
    let columns = |db: &str| machines.place.sql(db, "DESCRIBE events");
    assert!(columns("out.db").len() > 5);
    assert_eq!(columns("out.db"), columns("plain.db"));
    assert_eq!(machines.rows("out.db"), machines.rows("plain.db"));
}

#[test]
fn pages_of_profiles_are_committed_in_their_order() {
    let sim = started(sim(Data::sample()));
    let sink = "[sink]\ntype = \"jsonl\"\npath = \"out.jsonl\"\n";
    let machines = Machines::planning(&pipeline(&[&profiles(&sim, ""), sink]));
    let units = machines.keys().len();
    for n in (0..units).rev() {
        machines.unit(n % 2, n).ended(0);
    }
    machines.commit(1, &[]).ended(0);
    let text = machines
        .place
        .read("test.toml")
        .replace("out.jsonl", "plain.jsonl");
    machines.place.run(&text).0.ended(0);
    assert_eq!(
        machines.place.read("out.jsonl"),
        machines.place.read("plain.jsonl")
    );
    machines.commit(2, &[]).ended(0).says("nothing to do");
}

/// What one machine would have seen at once, several cannot: the commit does.
#[test]
fn people_that_are_on_two_pages_of_two_machines_are_refused() {
    let builder = |faults: bool| {
        let data = Data::generated(0, 550, 3);
        let builder = sim(data).page_size(100);
        match faults {
            false => builder,
            true => builder.fault(Fault::always(
                Matcher::engage_page(3),
                Action::OtherPage {
                    content: 1,
                    admitted: false,
                },
            )),
        }
    };
    // Whoever they are in the table.
    let nobody = "[[transform]]\ntype = \"select\"\ndrop = [\"distinct_id\"]\n";
    for (faults, transform) in [(true, ""), (true, nobody), (false, nobody)] {
        let sim = started(builder(faults));
        let sink = "[sink]\ntype = \"jsonl\"\npath = \"out.jsonl\"\n";
        let machines = Machines::planning(&pipeline(&[&profiles(&sim, ""), transform, sink]));
        for n in 0..6 {
            machines.unit(n, n).ended(0);
        }
        let ran = machines.commit(1, &[]);
        if faults {
            ran.ended(1)
                .says("100 of the 100 profiles of page 3 are those of page 1")
                .says("plan anew with `--fresh`");
            assert!(!machines.place.path("out.jsonl").exists());
        } else {
            ran.ended(0);
        }
    }
}

#[test]
fn several_pipelines_are_planned_and_committed_together() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    place.write("events.toml", &days(&sim, 1, 3, SINK));
    let sink = SINK
        .replace("replace_window", "replace")
        .replace("mode", "table = \"profiles\"\nmode");
    place.write("profiles.toml", &pipeline(&[&profiles(&sim, ""), &sink]));
    place
        .mixflow(&[
            "plan",
            "events.toml",
            "profiles.toml",
            "--output",
            "plan.json",
        ])
        .ended(0);
    let machines = Machines::at(place);
    let plan = machines.planned();
    let pipelines = plan["pipelines"].as_array().unwrap();
    assert_eq!(pipelines.len(), 2);
    let units: usize = pipelines
        .iter()
        .map(|planned| planned["units"].as_array().unwrap().len())
        .sum();
    for n in 0..units {
        machines.unit(n % 2, n).ended(0);
    }
    machines.commit(1, &["--report", "report.json"]).ended(0);
    let reports: Value = serde_json::from_str(&machines.place.read("report.json")).unwrap();
    assert_eq!(reports.as_array().unwrap().len(), 2);
    let tables = machines.place.sql(
        "out.db",
        "SELECT (SELECT count(*) FROM events) > 0, (SELECT count(*) FROM profiles) > 0",
    );
    assert_eq!(tables, [["true", "true"]]);
}

/// A machine that dies at any moment costs no row and brings none twice.
#[test]
fn machines_that_are_killed_anywhere_change_nothing() {
    let slow = Fault::always(
        Matcher::export(),
        Action::SlowFirstByte(Duration::from_millis(30)),
    );
    let sim: Simulator = started(sim(Data::sample()).fault(slow));
    let machines = Machines::of_days(&sim, 1, 6);
    let mut after = 5;
    for n in 0..6 {
        loop {
            let mut child =
                machines.begin(n, &super::unit(["0", "1", "2", "3", "4", "5"][n], "stage"));
            std::thread::sleep(Duration::from_millis(after));
            // A later kill each time, so that one of them comes too late.
            after += 13;
            if after > 240 {
                after = 5;
            }
            child.kill().unwrap();
            if child.wait().unwrap().success() {
                break;
            }
        }
        machines.unit(n, n).ended(0);
    }
    let mut after = 10;
    loop {
        let args = ["commit", "--plan", "plan.json", "--stage", "stage"];
        let mut child = machines.begin(1, &args);
        std::thread::sleep(Duration::from_millis(after));
        after += 17;
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
    }
    machines.commit(1, &[]).ended(0);
    plainly(&machines);
    assert_eq!(machines.rows("out.db"), machines.rows("plain.db"));
    assert_eq!(
        status(&machines.place, "test.toml"),
        status(&machines.place, "plain.toml")
    );
}
