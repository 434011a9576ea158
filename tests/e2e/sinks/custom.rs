//! Sinks that are not mixflow's own, compiled in: `cli/examples`.

use std::path::Path;
use std::process::Command;

use crate::support::{Place, Ran};

const PIPELINE: &str = "[source]\ntype = \"synthetic_events\"\nrows = 500\nseed = 1\nfrom = \"2024-01-01\"\nto = \"2024-01-02\"\n[sink]\ntype = \"tally\"\npath = \"tally.json\"\n";

fn tally(place: &Place, args: &[&str]) -> Ran {
    example("tally", place, args)
}

/// Runs an example of `cli/examples` as the other tests run mixflow.
pub fn example(name: &str, place: &Place, args: &[&str]) -> Ran {
    let folder = Path::new(env!("CARGO_BIN_EXE_mixflow")).parent().unwrap();
    let like = place.command(args);
    let mut command = Command::new(folder.join("examples").join(name));
    command.args(args).current_dir(place.path("")).env_clear();
    for (name, value) in like.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    Ran::of(command.output().unwrap())
}

#[test]
fn a_sink_that_is_compiled_in_is_like_any_other() {
    let place = Place::new();
    place.write("tally.toml", PIPELINE);
    let known = tally(&place, &["components"]).ended(0).stdout_lossy();
    assert!(
        known.contains("tally") && known.contains("how many rows each event has"),
        "{known}"
    );
    tally(&place, &["check", "tally.toml"]).ended(0);
    let plan = tally(&place, &["plan", "tally.toml"]).ended(0);
    let plan = format!("{}{}", plan.stdout_lossy(), plan.stderr);
    assert!(plan.contains("tally.json"), "{plan}");
    assert_eq!(place.names(), Vec::<String>::new());
    tally(&place, &["run", "tally.toml"])
        .ended(0)
        .says("committed 500 rows");
    let counts: serde_json::Value = serde_json::from_str(&place.read("tally.json")).unwrap();
    let counts = counts.as_object().unwrap().values();
    assert_eq!(counts.map(|n| n.as_u64().unwrap()).sum::<u64>(), 500);
    // Once more: it is there, and stays as it is.
    let before = place.read("tally.json");
    tally(&place, &["run", "tally.toml"])
        .ended(6)
        .says("`tally.json` already exists");
    assert_eq!(place.read("tally.json"), before);
}

#[test]
fn its_options_and_its_schema_are_checked_like_any_others() {
    let place = Place::new();
    place.write("a.toml", &PIPELINE.replace("path =", "paht ="));
    tally(&place, &["check", "a.toml"])
        .ended(2)
        .says("did you mean `path`?");
    place.write(
        "b.toml",
        &format!("{PIPELINE}[[transform]]\ntype = \"select\"\nkeep = [\"distinct_id\"]\n"),
    );
    tally(&place, &["check", "b.toml"])
        .ended(2)
        .says("this needs the column `event_name`");
    // The plain binary does not know it.
    place.write("c.toml", PIPELINE);
    place
        .mixflow(&["check", "c.toml"])
        .ended(2)
        .says("there is no sink `tally`");
}

#[test]
fn the_example_writes_the_same_compiled_in_and_loaded() {
    let place = Place::new();
    let known = example("csv", &place, &["components"]).ended(0);
    let known = known.stdout_lossy();
    assert!(
        known.contains("csv: a CSV file with a line of column names"),
        "{known}"
    );
    let (source, _) = PIPELINE.split_once("[sink]").unwrap();
    let compiled = format!("{source}[sink]\ntype = \"csv\"\npath = \"a.csv\"\n");
    place.write("a.toml", &compiled);
    example("csv", &place, &["check", "a.toml"]).ended(0);
    example("csv", &place, &["run", "a.toml"])
        .ended(0)
        .says("committed 500 rows");
    place.write(
        "b.toml",
        &crate::sinks::plugin::sink(&crate::sinks::plugin::csv(), "path = \"b.csv\""),
    );
    place
        .mixflow(&["run", "b.toml"])
        .ended(0)
        .says("committed 500 rows");
    assert_eq!(place.read("a.csv"), place.read("b.csv"));
    // The options are its own, so they are at the top.
    place.write("c.toml", &compiled.replace("path", "paht"));
    example("csv", &place, &["check", "c.toml"])
        .ended(2)
        .says("`sink.paht`: unknown field `paht`");
}
