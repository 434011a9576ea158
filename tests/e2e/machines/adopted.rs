//! Parts that a sink takes as they are.

use std::path::{Path, PathBuf};

use mixflow_tests::sim::{Data, Simulator};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use super::commits::status;
use super::{Machines, days};
use crate::rows::form::{delta_files, texts};
use crate::support::{Ran, events, pipeline, sim, started};

const KINDS: [&str; 2] = ["parquet", "delta"];

fn sink(kind: &str, more: &str) -> String {
    format!("[sink]\ntype = \"{kind}\"\npath = \"out\"\n{more}\n")
}

/// What a file is, but for its name and its run.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Content {
    folder: String,
    /// Columns, as readers of Arrow and of Parquet have them, and how they are written.
    form: String,
    rows: Vec<Vec<String>>,
}

/// Returns the files of a table, sorted.
fn contents(kind: &str, root: &Path) -> Vec<Content> {
    let mut files = Vec::new();
    match kind {
        "delta" => files.extend(delta_files(root).0.iter().map(PathBuf::from)),
        _ => below(root, Path::new(""), &mut files),
    }
    let mut contents: Vec<Content> = files.iter().map(|path| content(root, path)).collect();
    contents.sort();
    contents
}

fn below(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = folder.join(&name);
        if root.join(&path).is_dir() && !name.starts_with('_') {
            below(root, &path, files);
        } else if name.ends_with(".parquet") {
            files.push(path);
        }
    }
}

fn content(root: &Path, path: &Path) -> Content {
    let file = std::fs::File::open(root.join(path)).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let metadata = builder.metadata();
    let codecs = metadata.row_groups()[0].columns().iter();
    let codecs: Vec<String> = codecs.map(|c| c.compression().to_string()).collect();
    let fields = builder.schema().fields().iter();
    let fields: Vec<String> = fields
        .map(|field| {
            let notes: std::collections::BTreeMap<_, _> = field.metadata().iter().collect();
            format!("{field} {notes:?}")
        })
        .collect();
    let notes = metadata.file_metadata().key_value_metadata().unwrap();
    let notes: Vec<_> = notes
        .iter()
        .filter(|note| !["ARROW:schema", "mixflow.run_id"].contains(&note.key.as_str()))
        .map(|note| (note.key.clone(), note.value.clone()))
        .collect();
    let schema = metadata.file_metadata().schema().clone();
    let batches: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
    Content {
        folder: path.parent().unwrap().to_str().unwrap().to_owned(),
        form: format!("{fields:?}\n{schema:?}\n{codecs:?}\n{notes:?}"),
        rows: texts(&batches),
    }
}

/// Returns what the log of a Delta table says of its files, but for their names, times
/// and sizes, sorted.
fn said_of_files(root: &Path) -> Vec<String> {
    let log = std::fs::read_dir(root.join("_delta_log")).unwrap();
    let mut said = Vec::new();
    for entry in log {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines() {
            let action: Value = serde_json::from_str(line).unwrap();
            let add = &action["add"];
            if add.is_object() {
                let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
                said.push(format!("{} {stats}", add["partitionValues"]));
            }
        }
    }
    said.sort();
    said
}

/// Runs the same pipeline plainly, into `plain`.
fn plainly(machines: &Machines) {
    let text = machines
        .place
        .read("test.toml")
        .replace("path = \"out\"", "path = \"plain\"");
    machines.place.write("plain.toml", &text);
    machines.place.mixflow(&["run", "plain.toml"]).ended(0);
}

/// Commits, and returns how many files the sink took as they were.
fn commit(machines: &Machines) -> u64 {
    machines.commit(9, &["--report", "report.json"]).ended(0);
    let report: Value = serde_json::from_str(&machines.place.read("report.json")).unwrap();
    assert_eq!(report["status"], "committed");
    report["files_taken"].as_u64().unwrap_or(0)
}

/// Checks that what was committed is what a plain run would have written.
fn assert_as_plain(machines: &Machines, kind: &str) {
    let (out, plain) = (machines.place.path("out"), machines.place.path("plain"));
    let (out_files, plain_files) = (contents(kind, &out), contents(kind, &plain));
    assert_eq!(out_files.len(), plain_files.len(), "{kind}");
    for (one, other) in out_files.iter().zip(&plain_files) {
        assert_eq!(one, other, "{kind}");
    }
    if kind == "delta" {
        assert_eq!(said_of_files(&out), said_of_files(&plain));
    }
    assert_eq!(
        status(&machines.place, "test.toml"),
        status(&machines.place, "plain.toml"),
        "{kind}"
    );
}

/// Has machines leave the units of a pipeline.
fn left(text: &str) -> Machines {
    let machines = Machines::planning(text);
    for n in 0..machines.keys().len() {
        machines.unit(n % 3, n).ended(0);
    }
    machines
}

#[test]
fn what_is_taken_as_it_is_is_what_a_run_would_have_written() {
    for kind in KINDS {
        for mode in ["create", "append", "replace", "replace_window"] {
            let sim = started(sim(Data::sample()));
            let sink = sink(kind, &format!("mode = \"{mode}\""));
            let machines = left(&days(&sim, 1, 5, &sink));
            let ran = machines.commit(9, &["--report", "report.json"]).ended(0);
            ran.says("5 files as they were");
            plainly(&machines);
            assert_as_plain(&machines, kind);
            machines.commit(8, &[]).ended(0).says("nothing to do");
            let report: Value = serde_json::from_str(&machines.place.read("report.json")).unwrap();
            assert_eq!(report["row_count"], report["read"]);
            let by_event = &report["partitions"][0]["rows_by_event"];
            assert!(by_event.as_object().is_some_and(|all| !all.is_empty()));
            // Nothing of the destination is on the stage.
            std::fs::remove_dir_all(machines.place.path("stage")).unwrap();
            assert_as_plain(&machines, kind);
        }
    }
}

#[test]
fn days_are_replaced_by_files_as_they_are() {
    for kind in KINDS {
        let sim = started(sim(Data::sample()));
        let sink = sink(kind, "mode = \"replace_window\"");
        let text = days(&sim, 1, 4, &sink);
        let machines = left(&text);
        assert_eq!(commit(&machines), 4, "{kind}");
        plainly(&machines);
        for place in ["test.toml", "plain.toml"] {
            let text = machines
                .place
                .read(place)
                .replace("01-01", "01-03")
                .replace("01-04", "01-06");
            machines.place.write(place, &text);
        }
        machines.plan(&["--fresh"]).ended(0);
        for n in 0..4 {
            machines.unit(n, n).ended(0);
        }
        assert_eq!(commit(&machines), 4, "{kind}");
        machines.place.mixflow(&["run", "plain.toml"]).ended(0);
        assert_eq!(
            contents(kind, &machines.place.path("out")),
            contents(kind, &machines.place.path("plain")),
            "{kind}"
        );
        assert_eq!(contents(kind, &machines.place.path("out")).len(), 6);
    }
}

/// The bytes of a part are taken without a look into them: these are no Parquet at all,
/// and their receipt speaks of them.
#[test]
fn no_row_of_a_part_is_read() {
    for kind in KINDS {
        let sim = started(sim(Data::sample()));
        let machines = left(&days(&sim, 1, 2, &sink(kind, "")));
        let plan = machines.planned()["plan_id"].as_str().unwrap().to_owned();
        let name = &machines.staged("receipts")[0];
        let receipt = machines.place.path(format!("stage/{plan}/receipts/{name}"));
        let text = std::fs::read_to_string(&receipt).unwrap();
        let mut said: Value = serde_json::from_str(&text).unwrap();
        let part = said["part"]["path"].as_str().unwrap().to_owned();
        let nonsense = "nobody looks into this";
        std::fs::write(
            machines.place.path(format!("stage/{plan}/{part}")),
            nonsense,
        )
        .unwrap();
        said["part"]["bytes"] = nonsense.len().into();
        std::fs::write(&receipt, said.to_string()).unwrap();
        machines
            .commit(1, &[])
            .ended(1)
            .says("its SHA-256 is another one");
        said["part"]["sha256"] =
            sha256(&machines.place.path(format!("stage/{plan}/{part}"))).into();
        std::fs::write(&receipt, said.to_string()).unwrap();
        assert_eq!(commit(&machines), 2, "{kind}");
        let mut files = Vec::new();
        below(&machines.place.path("out"), Path::new(""), &mut files);
        let mut found = files
            .iter()
            .map(|file| machines.place.path("out").join(file));
        assert!(found.any(|file| std::fs::read(file).unwrap() == nonsense.as_bytes()));
    }
}

fn sha256(path: &Path) -> String {
    let output = std::process::Command::new("sha256sum")
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn a_part_that_has_changed_is_refused_and_nothing_is_there() {
    for kind in KINDS {
        let sim = started(sim(Data::sample()));
        let machines = left(&days(&sim, 1, 3, &sink(kind, "")));
        let plan = machines.planned()["plan_id"].as_str().unwrap().to_owned();
        let part = machines.staged("parts").pop().unwrap();
        let part = machines.place.path(format!("stage/{plan}/parts/{part}"));
        let whole = std::fs::read(&part).unwrap();
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        for (bytes, says) in [
            (changed, "its SHA-256 is another one"),
            (whole[..whole.len() - 1].to_vec(), "bytes, and had"),
        ] {
            std::fs::write(&part, bytes).unwrap();
            machines.commit(1, &[]).ended(1).says(says);
            assert!(!machines.place.path("out").exists(), "{kind}");
        }
        std::fs::remove_file(&part).unwrap();
        machines.commit(1, &[]).ended(1).says("it is not there");
        assert!(!machines.place.path("out").exists(), "{kind}");
        std::fs::write(&part, whole).unwrap();
        assert_eq!(commit(&machines), 3);
    }
}

/// A day of which a row lies in another one, and days that share a unit.
#[test]
fn parts_of_several_days_are_read_beside_those_that_are_taken() {
    for kind in KINDS {
        let mut data = Data::sample();
        let late = br#"{"event":"Late","properties":{"time":1704412800,"distinct_id":"l","$insert_id":"late"}}"#;
        data.add_raw_line(jiff::civil::date(2024, 1, 2), late);
        let sim = started(sim(data));
        let machines = left(&days(&sim, 1, 4, &sink(kind, "mode = \"replace_window\"")));
        assert_eq!(commit(&machines), 3, "{kind}");
        plainly(&machines);
        assert_as_plain(&machines, kind);

        let source = events(
            &sim,
            "from = \"2024-01-07\"\nto = \"2024-01-11\"\nwindow_days = 2",
        );
        let machines = left(&pipeline(&[&source, &sink(kind, "")]));
        // The last window has one day.
        assert_eq!(commit(&machines), 1, "{kind}");
        plainly(&machines);
        assert_as_plain(&machines, kind);
    }
}

#[test]
fn typed_columns_are_taken_and_columns_that_go_by_the_rows_are_not() {
    let typed = "[[transform]]\ntype = \"extract\"\ncolumns = [{ name = \"city\", path = \"$city\", type = \"text\" }, { name = \"amount\", type = \"float\" }, { name = \"n\", path = \"quantity\", type = \"int\" }]\n";
    let auto = "[[transform]]\ntype = \"extract\"\ncolumns = \"auto\"\n";
    for kind in KINDS {
        for (transform, files) in [(typed, 4), (auto, 0)] {
            let sim = started(sim(Data::sample()));
            let source = events(&sim, "from = \"2024-01-01\"\nto = \"2024-01-04\"");
            let machines = left(&pipeline(&[&source, transform, &sink(kind, "")]));
            assert_eq!(commit(&machines), files, "{kind}");
            plainly(&machines);
            assert_as_plain(&machines, kind);
        }
    }
}

#[test]
fn parts_in_another_form_than_the_destination_are_read() {
    let sim = started(sim(Data::sample()));
    let machines = left(&days(
        &sim,
        1,
        3,
        &sink("parquet", "compression = \"snappy\""),
    ));
    assert_eq!(commit(&machines), 3);
    plainly(&machines);
    assert_as_plain(&machines, "parquet");
    // The plan is of before; what is committed is of today.
    let machines = left(&days(&sim, 1, 3, &sink("parquet", "")));
    let text = machines.place.read("plan.json");
    let changed = text.replace(
        "\"path\": \"out\"",
        "\"path\": \"out\", \"compression\": \"none\"",
    );
    assert_ne!(changed, text);
    machines.place.write("plan.json", &changed);
    assert_eq!(commit(&machines), 0);
    let toml = machines.place.read("test.toml") + "compression = \"none\"\n";
    machines.place.write("test.toml", &toml);
    plainly(&machines);
    assert_as_plain(&machines, "parquet");
}

#[test]
fn machines_that_are_killed_while_files_are_taken_change_nothing() {
    for kind in KINDS {
        let sim: Simulator = started(sim(Data::sample()));
        let machines = left(&days(&sim, 1, 8, &sink(kind, "mode = \"replace_window\"")));
        let mut after = 5;
        loop {
            let args = ["commit", "--plan", "plan.json", "--stage", "stage"];
            let mut child = machines.begin(1, &args);
            std::thread::sleep(std::time::Duration::from_millis(after));
            after += 7;
            child.kill().unwrap();
            if child.wait().unwrap().success() {
                break;
            }
        }
        machines.commit(1, &[]).ended(0);
        plainly(&machines);
        assert_as_plain(&machines, kind);
        let files = |name: &str| {
            let mut files = Vec::new();
            below(&machines.place.path(name), Path::new(""), &mut files);
            files.len()
        };
        // No file of a run that died is left beside those that count.
        machines.place.mixflow(&["vacuum", "test.toml"]).ended(0);
        assert_eq!(files("out"), files("plain"), "{kind}");
    }
}

/// Machines of a bucket commit into a table of the same bucket.
pub(super) fn share_a_bucket(machines: &Machines, without_secrets: impl Fn(Ran) -> Ran) {
    for n in 0..machines.keys().len() {
        without_secrets(machines.unit(n % 2, n).ended(0));
    }
    let ran = machines.commit(9, &["--report", "report.json"]);
    without_secrets(ran.ended(0)).says("3 files as they were");
    without_secrets(machines.commit(8, &[]).ended(0)).says("nothing to do");
}
