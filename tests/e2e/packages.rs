//! Pythons with packages, each made once for all runs of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of what tests get from registries.
pub use mixflow_tests::databases::cache;

/// The Python of an environment of that name, in which `imports` can be
/// imported; `None` where it cannot be made, which is said.
///
/// It stands where the prebuilt DuckDB does, outside the clone, so that a fresh
/// one does not ask the registry again.
pub fn python_with(name: &str, packages: &[&str], imports: &str) -> Option<PathBuf> {
    let folder = cache()?.join(format!("python-{name}"));
    // Tests are processes; one makes it, the others wait.
    let lock = std::fs::File::create(folder.with_extension("lock")).ok()?;
    lock.lock().ok()?;
    let python = folder.join("bin/python");
    let works = || ran(&python, &["-c", &format!("import {imports}")]);
    if works() {
        return Some(python);
    }
    let folder = folder.to_str()?;
    let install = ["-m", "pip", "-q", "install"];
    let install: Vec<&str> = install.iter().chain(packages).copied().collect();
    let made = ran(Path::new("python3"), &["-m", "venv", "--clear", folder])
        && ran(&python, &install)
        && works();
    if !made {
        let packages = packages.join(", ");
        eprintln!("skipped: Python with {packages} cannot be had here");
    }
    made.then_some(python)
}

fn ran(program: &Path, args: &[&str]) -> bool {
    let output = Command::new(program).args(args).output();
    output.is_ok_and(|output| output.status.success())
}
