//! A disk of state without room, where the destination has plenty.

use std::process::{Command, Stdio};

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, ExportQuery, Fault, Matcher, Unframed};

use crate::rows::form::{Event, assert_same, expected_events, in_table, sorted};
use crate::support::{DUCKDB, Place, Ran, events, pipeline, sim, started, workers};

const THREE: &str = "from = \"2024-01-01\"\nto = \"2024-01-03\"\nwindow_days = 1\n";

/// Runs the pipeline with a state folder of so many kilobytes.
///
/// `None` where nothing can be mounted.
fn run_with_room(place: &Place, kilobytes: u32) -> Option<Ran> {
    for folder in ["state", "tmp"] {
        std::fs::create_dir_all(place.path(folder)).unwrap();
    }
    let mount = format!("mount -t tmpfs -o size={kilobytes}k none state");
    let own = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-r", "-m", "sh", "-c", script]);
        command.current_dir(place.path("")).stderr(Stdio::null());
        command
    };
    if !own(&mount).status().is_ok_and(|status| status.success()) {
        eprintln!("nothing can be mounted here");
        return None;
    }
    let plain = place.command(&["run", "test.toml", "--report", "report.json"]);
    let script = format!("{mount} && exec \"$0\" \"$@\"");
    let mut command = own(&script);
    command.arg(plain.get_program()).args(plain.get_args());
    command.env_clear().stderr(Stdio::piped());
    for (key, value) in plain.get_envs() {
        command.env(key, value.unwrap_or_default());
    }
    command.env("TMPDIR", place.path("tmp"));
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Some(Ran::of(command.output().unwrap()))
}

#[test]
fn a_full_disk_of_state_fails_no_run() {
    // Days of some 300 KB as they come, and 1 MB plain.
    let mut data = Data::generated_between(date(2024, 1, 1), date(2024, 1, 3), 9_000, 0, 7);
    let days = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 3));
    let expected = sorted(expected_events(&started(sim(data.clone())), &days));
    for _ in 0..2_000 {
        data.add_raw_line(
            date(2024, 1, 2),
            b"{\"event\": \"a record that cannot be read\", }",
        );
    }
    let whole = Fault::always(Matcher::export(), Action::Unframed(Unframed::Whole));
    for fault in [None, Some(whole)] {
        let builder = sim(data.clone());
        let sim = started(match fault {
            Some(fault) => builder.fault(fault),
            None => builder,
        });
        // Full from the start, in the middle of a body, and of the rejects.
        for kilobytes in [4, 40, 400, 1_200] {
            for n in [1, 3] {
                let place = Place::new();
                let source = events(&sim, &format!("{THREE}max_rejects = 5000\n"));
                place.write("test.toml", &pipeline(&[&source, DUCKDB, &workers(n)]));
                let Some(ran) = run_with_room(&place, kilobytes) else {
                    return;
                };
                eprintln!("{kilobytes} KB, {n} workers:\n{}", ran.stderr);
                ran.ended(0);
                assert_same(
                    &sorted(in_table::<Event>(&place.path("out.db"), "events")),
                    &expected,
                );
                let report: serde_json::Value =
                    serde_json::from_str(&place.read("report.json")).unwrap();
                assert_eq!(report["rejected"], 2_000);
            }
        }
    }
}
