//! Where records that cannot be read are kept, and where there is no room.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::civil::date;
use mixflow_tests::sim::{Data, Simulator};

use crate::support::{DUCKDB, Place, Ran, events, pipeline, sim, started};

const DAY: &str = "from = \"2024-01-01\"\nto = \"2024-01-01\"\n";

/// A day with one record that cannot be read.
fn simulator() -> Simulator {
    let day = date(2024, 1, 1);
    let mut data = Data::generated_between(day, day, 30, 0, 7);
    data.add_raw_line(day, b"{\"event\": \"no properties\"}");
    started(sim(data))
}

fn run(place: &Place, sim: &Simulator) -> (Ran, serde_json::Value) {
    place.write("test.toml", &pipeline(&[&events(sim, DAY), DUCKDB]));
    let args = ["run", "test.toml", "--report", "report.json"];
    let mut command = place.command(&args);
    command.env("TMPDIR", place.path("tmp"));
    let ran = Ran::of(command.output().unwrap());
    let report = serde_json::from_str(&place.read("report.json")).unwrap();
    (ran, report)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn rejects_and_the_history_are_private() {
    let (place, sim) = (Place::new(), simulator());
    let (ran, report) = run(&place, &sim);
    ran.ended(0);
    let file = Path::new(report["reject_file"].as_str().unwrap());
    assert_eq!(mode(file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(mode(&place.path("state")), 0o700);
    assert_eq!(mode(&place.path("state/state.db")), 0o600);
}

#[test]
fn rejects_without_room_go_on_elsewhere_and_then_are_counted() {
    let (place, sim) = (Place::new(), simulator());
    // A file stands where the folder would be.
    std::fs::create_dir_all(place.path("state")).unwrap();
    std::fs::create_dir_all(place.path("tmp")).unwrap();
    std::fs::write(place.path("state/rejects"), "").unwrap();
    let (ran, report) = run(&place, &sim);
    ran.ended(0).says("1 record could not be read");
    let file = Path::new(report["reject_file"].as_str().unwrap());
    assert!(file.starts_with(place.path("tmp")), "{}", file.display());
    let kept = std::fs::read_to_string(file).unwrap();
    assert_eq!(kept.lines().count(), 1);

    let place = Place::new();
    std::fs::create_dir_all(place.path("state")).unwrap();
    for blocked in ["tmp", "state/rejects"] {
        std::fs::write(place.path(blocked), "").unwrap();
    }
    let (ran, report) = run(&place, &sim);
    ran.ended(0).says("nowhere");
    assert_eq!(report["rejected"], 1);
    assert_eq!(report["row_count"], 30);
}
