//! What the page on Python says, run with the real packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use mixflow_tests::sim::Data;

use crate::packages::python_with;
use crate::support::{DUCKDB, Place, events, pipeline, sim, started};

/// The Python of an environment with the packages, made once; `None` where
/// that cannot be.
pub fn python() -> Option<PathBuf> {
    let packages = [
        "duckdb==2.0.0",
        "mixpanel-utils",
        "pandas",
        "polars",
        "pyarrow",
    ];
    let imports = "duckdb, mixpanel_utils, pandas, polars, pyarrow";
    python_with("packages", &packages, imports)
}

/// Returns the blocks of `language` in the page's part on Python.
fn blocks(language: &str) -> Vec<String> {
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sinks/duckdb/README.md");
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (_, part) = page.split_once("\n## Python and notebooks\n").unwrap();
    let fence = format!("```{language}\n");
    part.split(&fence)
        .skip(1)
        .map(|block| block.split_once("```").unwrap().0.to_owned())
        .collect()
}

#[test]
fn the_pages_python_runs_and_prints_what_it_says() {
    let Some(python) = python() else {
        return;
    };
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let db = DUCKDB.replace("out.db", "mixpanel.db");
    place.run(&pipeline(&[&events(&sim, ""), &db])).0.ended(0);
    let parquet = "[sink]\ntype = \"parquet\"\npath = \"events\"\n";
    place
        .run(&pipeline(&[&events(&sim, ""), parquet]))
        .0
        .ended(0);
    let scripts = blocks("python");
    assert!(scripts.len() >= 4);
    let mixflow = Path::new(env!("CARGO_BIN_EXE_mixflow")).parent().unwrap();
    let path = format!("{}:{}", mixflow.display(), std::env::var("PATH").unwrap());
    for script in scripts {
        place.write("script.py", &script);
        let mut command = place.command(&[]);
        let mut ran = Command::new(&python);
        ran.arg("script.py")
            .current_dir(place.path(""))
            .env("PATH", &path);
        for (name, value) in command.env("PYTHONWARNINGS", "error").get_envs() {
            if name != "PATH"
                && let Some(value) = value
            {
                ran.env(name, value);
            }
        }
        let output = ran.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{stderr}");
        // What a line prints stands behind it.
        let said: Vec<&str> = script
            .lines()
            .filter(|line| line.trim_start().starts_with("print("))
            .filter_map(|line| line.split_once("# ").map(|(_, said)| said.trim()))
            .collect();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            stdout.lines().collect::<Vec<_>>(),
            said,
            "{script}\n{stderr}"
        );
    }
}
