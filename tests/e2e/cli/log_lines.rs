//! Lines of stderr where nobody looks: each says when, and of which run.

use mixflow_tests::sim::{Data, Fault, Simulator};
use serde_json::Value;

use crate::support::{DUCKDB, Place, Ran, Stamped, events, on_a_terminal, pipeline, sim, started};

fn day(sim: &Simulator) -> String {
    let source = events(sim, "from = \"2024-01-14\"\nto = \"2024-01-14\"\n");
    pipeline(&[
        "name = \"daily\"",
        &source,
        &format!("{DUCKDB}mode = \"replace\""),
    ])
}

fn store() -> Simulator {
    started(sim(Data::sample()))
}

/// When it is, so that no day is too old.
const NOW: &str = "2024-01-20T12:00:00Z";

/// Runs a pipeline, and returns the id of the run, too.
fn run(place: &Place, text: &str, more: &[&str]) -> (Ran, String) {
    place.write("t.toml", text);
    let args = [&["run", "t.toml", "--report", "report.json"], more].concat();
    let mut command = place.command(&args);
    let ran = Ran::of(command.env("MIXFLOW_NOW", NOW).output().unwrap());
    let report: Value = serde_json::from_str(&place.read("report.json")).unwrap();
    (ran, report["run_id"].as_str().unwrap().to_owned())
}

/// The lines, each of which is a JSON object with what all of them have.
#[track_caller]
fn objects(ran: &Ran) -> Vec<Value> {
    let lines: Vec<Value> = ran
        .lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    for line in &lines {
        let time = line["time"].as_str().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
        let levels = ["error", "warn", "info", "debug", "trace"];
        assert!(levels.contains(&line["level"].as_str().unwrap()), "{line}");
    }
    lines
}

#[test]
fn each_line_of_a_run_has_the_time_the_pipeline_and_the_run() {
    let (sim, place) = (store(), Place::new());
    sim.add_fault(Fault::parse("export status=503").unwrap());
    let (ran, run_id) = run(&place, &day(&sim), &["-vv"]);
    let ran = ran.ended(0).says("trying again").says("committed ");
    let mut times = Vec::new();
    let mut said = Vec::new();
    for line in ran.lines.lines() {
        let stamped = Stamped::read(line).unwrap();
        assert_eq!(stamped.of, Some(("daily", run_id.as_str())), "{line}");
        times.push(stamped.time);
        said.push(stamped.text);
    }
    assert!(times.is_sorted());
    // Also what is logged, which has its own level.
    assert!(
        said.iter().any(|text| text.starts_with("INFO  mixflow")),
        "{said:?}"
    );
    assert!(
        said.iter().any(|text| text.starts_with("DEBUG mixflow")),
        "{said:?}"
    );
}

#[test]
fn all_lines_of_an_error_say_of_what_they_are() {
    let (sim, place) = (store(), Place::new());
    let (ran, run_id) = run(&place, &day(&sim).replace("\"sim\"", "\"nobody\""), &[]);
    let ran = ran.ended(4);
    let texts: Vec<&str> = ran
        .lines
        .lines()
        .map(|line| {
            let stamped = Stamped::read(line).unwrap();
            assert_eq!(stamped.of, Some(("daily", run_id.as_str())));
            stamped.text
        })
        .collect();
    let begins = ["error: ", "  caused by: ", "hint: ", "note: "];
    assert!(texts.len() >= begins.len(), "{texts:?}");
    for begin in begins {
        assert!(
            texts.iter().any(|text| text.starts_with(begin)),
            "{texts:?}"
        );
    }
}

#[test]
fn what_is_of_no_run_has_the_time_alone() {
    let place = Place::new();
    place.write("t.toml", "[source]\ntype = 1\n");
    let ran = place.mixflow(&["check", "t.toml"]).ended(2);
    assert!(ran.lines.lines().count() > 3, "{}", ran.lines);
    for line in ran.lines.lines() {
        assert_eq!(Stamped::read(line).unwrap().of, None, "{line}");
    }
    // As does what is wrong with the command line, but not what it asks for.
    let ran = place.mixflow(&["rnu"]).ended(2);
    assert!(
        ran.stderr.starts_with("error: unrecognized subcommand"),
        "{}",
        ran.stderr
    );
    let ran = place.mixflow(&["--help"]).ended(0);
    assert_eq!(ran.lines, "");
}

#[test]
fn json_is_an_object_a_line_whatever_is_said() {
    let (sim, place) = (store(), Place::new());
    sim.add_fault(Fault::parse("export status=503").unwrap());
    let (ran, run_id) = run(&place, &day(&sim), &["--log-format", "json", "-vvv"]);
    let lines = objects(&ran.ended(0));
    for line in &lines {
        assert_eq!(line["pipeline"], "daily", "{line}");
        assert_eq!(line["run_id"], run_id, "{line}");
        assert!(line["message"].is_string(), "{line}");
    }
    let has = |level: &str, text: &str| {
        let says = |line: &&Value| line["message"].as_str().unwrap().contains(text);
        lines
            .iter()
            .find(|line| line["level"] == level && says(line))
    };
    assert!(has("info", "committed ").is_some(), "{lines:?}");
    let logged = has("debug", "GET ").unwrap();
    assert!(logged["target"].as_str().unwrap().starts_with("mixflow"));
}

#[test]
fn json_has_an_error_in_one_object_with_causes_and_hint() {
    let (sim, place) = (store(), Place::new());
    let wrong = day(&sim).replace("\"sim\"", "\"nobody\"");
    let (ran, run_id) = run(&place, &wrong, &["--log-format", "json"]);
    let lines = objects(&ran.ended(4));
    let errors: Vec<&Value> = lines
        .iter()
        .filter(|line| line["level"] == "error")
        .collect();
    assert_eq!(errors.len(), 1, "{lines:?}");
    let report: Value = serde_json::from_str(&place.read("report.json")).unwrap();
    for key in ["kind", "message", "causes", "hint"] {
        assert_eq!(errors[0][key], report["error"][key], "{key}");
    }
    assert_eq!(errors[0]["run_id"], run_id);
    // A mistake in a file is one, too, with all of its lines; so is one of the
    // command line.
    place.write("t.toml", "[source]\ntype = 1\n");
    let json = ["check", "t.toml", "--log-format", "json"];
    let lines = objects(&place.mixflow(&json).ended(2));
    let message = lines[0]["message"].as_str().unwrap();
    assert!(message.contains("\n2 | type = 1\n"), "{message}");
    assert!(lines[0].get("run_id").is_none(), "{lines:?}");
    let lines = objects(&place.mixflow(&["rnu", "--log-format=json"]).ended(2));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["level"], "error");
}

#[test]
fn progress_in_json_is_the_same_with_the_time_and_the_run() {
    let (sim, place) = (store(), Place::new());
    for format in ["text", "json"] {
        let more = ["--progress", "json", "--log-format", format];
        let (ran, run_id) = run(&place, &day(&sim), &more);
        let lines = objects(&ran.ended(0));
        let told: Vec<&str> = lines
            .iter()
            .filter_map(|line| line["event"].as_str())
            .collect();
        assert_eq!(told.first(), Some(&"planned"), "{told:?}");
        assert_eq!(told.last(), Some(&"finished"), "{told:?}");
        assert!(
            lines.iter().all(|line| line["level"] == "info"),
            "{lines:?}"
        );
        for line in &lines {
            assert_eq!(line["run_id"], run_id, "{line}");
            assert_eq!(line["pipeline"], "daily", "{line}");
        }
    }
}

#[test]
fn progress_in_json_says_how_bad_it_is() {
    let (sim, place) = (store(), Place::new());
    sim.add_fault(Fault::parse("export always status=404").unwrap());
    let (ran, _) = run(&place, &day(&sim), &["--progress", "json"]);
    let lines = objects(&ran.ended(1));
    let level = |event: &str| {
        let found = lines.iter().find(|line| line["event"] == event);
        found.unwrap()["level"].as_str().unwrap()
    };
    assert_eq!(level("planned"), "info");
    assert_eq!(level("partition_done"), "warn");
    assert_eq!(level("finished"), "error");
}

#[test]
fn lines_on_a_terminal_are_as_they_are() {
    let (sim, place) = (store(), Place::new());
    place.write("t.toml", &day(&sim));
    let args = ["run", "t.toml", "--progress", "plain"];
    let Some(shown) = on_a_terminal(place.command(&args).env("MIXFLOW_NOW", NOW), 80) else {
        return;
    };
    assert!(shown.starts_with("committed "), "{shown}");
    let args = ["run", "t.toml", "--log-format", "json"];
    let shown = on_a_terminal(place.command(&args).env("MIXFLOW_NOW", NOW), 80).unwrap();
    for line in shown.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["pipeline"], "daily");
    }
}
