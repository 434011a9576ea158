//! The contract of every sink, kept by a script that does as the README says.

use std::path::Path;

use mixflow_core::sink::{Sink, WriteMode};
use mixflow_core::testing::{Cells, SinkUnderTest, sink_conformance};
use serde_json::{Map, Value};

use crate::{ExecFormat, ExecOptions, ExecSink};

/// Writes lines to a file in `$1`, and swaps the target `$0` for it if the run
/// commits.
const SCRIPT: &str = r#"cat > "$1/part" && [ -e "$MIXFLOW_COMMIT" ] && mv "$1/part" "$0""#;

struct Script {
    /// Where a script that is killed in the middle may leave its file; the
    /// next one begins it anew.
    scratch: tempfile::TempDir,
}

impl SinkUnderTest for Script {
    /// What becomes of what is there is up to the program: this one swaps it,
    /// and takes a place that it can write.
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        if mode != WriteMode::Replace || !place.parent()?.is_dir() {
            return None;
        }
        let scratch = self.scratch.path().to_str()?;
        let command = ["sh", "-c", SCRIPT, place.to_str()?, scratch];
        let options = ExecOptions {
            command: command.map(str::to_owned).into(),
            format: Some(ExecFormat::Jsonl),
            transactional: None,
            timeout: None,
            env: Default::default(),
        };
        Some(Box::new(ExecSink::new(options).ok()?))
    }

    /// What it swaps is its own affair.
    fn guards_replace(&self) -> bool {
        false
    }

    fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
        let text = std::fs::read_to_string(place).ok()?;
        let rows = text.lines().map(|line| {
            let row: Map<String, Value> = serde_json::from_str(line).expect("an object");
            let cells = row.into_iter().map(|(name, value)| match value {
                Value::Null => (name, None),
                Value::String(text) => (name, Some(text)),
                other => (name, Some(other.to_string())),
            });
            cells.collect()
        });
        Some(rows.collect())
    }
}

#[test]
fn a_program_keeps_the_contract() {
    let scratch = tempfile::tempdir().expect("a temp folder");
    let report = sink_conformance(&Script { scratch });
    let skipped = [
        "create on something that is there",
        "append adds",
        "two transactions in a row",
        "a schema that differs from what is there",
        "replace by nothing",
        "replace_window replaces days only",
        "replace_window replaces just what was fetched",
        "a place that cannot be written",
    ];
    assert_eq!(report.skipped, skipped);
}
