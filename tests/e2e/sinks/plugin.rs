//! Sinks that are loaded from libraries, good ones and hostile ones.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, Fault, Matcher, Simulator};

use crate::support::{Place, Ran, events, pipeline, sim, started};

/// 500 made-up rows in two partitions.
const SOURCE: &str = "[source]\ntype = \"synthetic_events\"\nrows = 500\nseed = 1\nfrom = \"2024-01-01\"\nto = \"2024-01-02\"\n";

/// Returns a library that cargo has built beside the binary.
fn built(name: &str) -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_mixflow"));
    let (before, after) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let library = binary.parent().unwrap().join(name);
    let file = library.file_name().unwrap().to_str().unwrap();
    let library = library.with_file_name(format!("{before}{file}{after}"));
    assert!(
        library.exists(),
        "{} is missing: build the whole workspace",
        library.display()
    );
    library
}

/// The example, as a library.
pub fn csv() -> PathBuf {
    built("deps/mixflow_sink_example")
}

pub fn sink(library: &Path, options: &str) -> String {
    format!(
        "{SOURCE}[sink]\ntype = \"plugin\"\nlibrary = \"{}\"\noptions = {{ {options} }}\n",
        library.display()
    )
}

/// Compiles a library of C beside a test.
fn compiled(place: &Place, source: &str, defined: Option<&str>) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let library = place.path("libtest.so");
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-pthread"])
        .arg("-I")
        .arg(root.join("sinks/abi/include"))
        .arg("-I")
        .arg(root.join("sinks/abi/c"))
        .arg("-o")
        .arg(&library)
        .arg(root.join(source));
    if let Some(name) = defined {
        cc.arg(format!("-D{name}"));
    }
    let output = cc.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    library
}

/// Runs the hostile library of C with one thing wrong with it.
fn hostile_c(place: &Place, defined: &str) -> Ran {
    let library = compiled(place, "tests/fixtures/plugin/hostile.c", Some(defined));
    place.run(&sink(&library, "path = \"count.txt\"")).0
}

/// Runs the hostile library of Rust, which goes wrong at one call.
fn hostile_rust(place: &Place, at: &str, how: &str) -> Ran {
    let options = format!("at = \"{at}\", how = \"{how}\"");
    place.run(&sink(&built("examples/hostile"), &options)).0
}

#[test]
fn a_loaded_sink_is_like_any_other() {
    let place = Place::new();
    place.write("a.toml", &sink(&csv(), "path = \"out.csv\""));
    place.mixflow(&["check", "a.toml"]).ended(0);
    let plan = place.mixflow(&["plan", "a.toml"]).ended(0);
    let plan = format!("{}{}", plan.stdout_lossy(), plan.stderr);
    assert!(plan.contains("creates `out.csv`"), "{plan}");
    assert_eq!(place.names(), Vec::<String>::new());
    place
        .mixflow(&["run", "a.toml"])
        .ended(0)
        .says("committed 500 rows")
        .says("to out.csv");
    let text = place.read("out.csv");
    assert!(text.starts_with("event_name,event_time,distinct_id,insert_id,properties\n"));
    assert_eq!(
        csv::Reader::from_reader(text.as_bytes()).records().count(),
        500
    );
    // Once more: it is there, and stays as it is.
    place
        .mixflow(&["run", "a.toml"])
        .ended(6)
        .says("the sink `csv` of")
        .says("`out.csv` already exists")
        .says("hint: ");
    assert_eq!(place.read("out.csv"), text);
    for (mode, rows) in [("append", 1_000), ("replace", 500)] {
        let options = format!("path = \"out.csv\", mode = \"{mode}\"");
        place.run(&sink(&csv(), &options)).0.ended(0);
        let text = place.read("out.csv");
        let found = csv::Reader::from_reader(text.as_bytes()).records().count();
        assert_eq!(found, rows, "{mode}");
    }
}

#[test]
fn components_names_the_plugin_sink() {
    let known = Place::new().mixflow(&["components"]).ended(0);
    assert!(
        known
            .stdout_lossy()
            .contains("plugin: a sink that somebody else wrote")
    );
}

#[test]
fn its_options_are_checked_with_their_place_in_the_file() {
    let place = Place::new();
    let wrong = "paht = \"out.csv\", mode = \"replase\", delimiter = \"ab\"";
    place.write("a.toml", &sink(&csv(), wrong));
    let ran = place.mixflow(&["check", "a.toml"]).ended(2);
    let ran = ran
        .says("`sink.options.paht`: unknown field `paht`")
        .says("did you mean `path`?")
        .says("`sink.options.mode`: unknown variant `replase`");
    // The caret stands below the key's value.
    assert!(
        ran.stderr.contains("a.toml:10:20: `sink.options.paht`"),
        "{}",
        ran.stderr
    );
    place.write(
        "b.toml",
        &sink(&csv(), "path = \"\", mode = \"replace_window\""),
    );
    place
        .mixflow(&["check", "b.toml"])
        .ended(2)
        .says("`sink.options.path`: this is empty")
        .says("`sink.options.mode`: a CSV file has no days");
    place.write(
        "c.toml",
        &sink(&csv(), "path = \"out.csv\"").replace("library", "libary"),
    );
    place
        .mixflow(&["check", "c.toml"])
        .ended(2)
        .says("did you mean `library`?");
}

#[test]
fn a_failed_run_leaves_nothing_of_a_loaded_sink() {
    let place = Place::new();
    let pipeline = sink(&csv(), "path = \"out.csv\"");
    let (ran, report) = place.run(&format!("{pipeline}[run]\nmin_rows = 501\n"));
    ran.ended(1).says("fewer than `min_rows = 501`");
    assert_eq!(report["status"], "aborted");
    assert_eq!(place.names(), Vec::<String>::new());
}

/// Three days, the second of which cannot be had.
fn two_of_three_days(options: &str, run: &str) -> (Place, Ran, serde_json::Value) {
    let (_sim, place, ran, report) = without_the_second_day(&csv(), options, run);
    (place, ran, report)
}

fn without_the_second_day(
    library: &Path,
    options: &str,
    run: &str,
) -> (Simulator, Place, Ran, serde_json::Value) {
    let data = Data::generated_between(date(2024, 1, 1), date(2024, 1, 3), 300, 0, 7);
    let sim = started(sim(data).fault(Fault::always(
        Matcher::export_from(date(2024, 1, 2)),
        Action::Status {
            code: 500,
            retry_after: None,
            body: None,
        },
    )));
    let days = "from = \"2024-01-01\"\nto = \"2024-01-03\"\nwindow_days = 1\n";
    let sink = &sink(library, options)[SOURCE.len()..];
    let place = Place::new();
    let (ran, report) = place.run(&pipeline(&[&events(&sim, days), sink, run]));
    (sim, place, ran, report)
}

#[test]
fn only_failed_adds_to_what_a_loaded_sink_has() {
    let keep = "[run]\nworkers = 2\non_failure = \"keep\"\n";
    let (sim, place, ran, _) = without_the_second_day(&csv(), "path = \"out.csv\"", keep);
    ran.ended(3);
    sim.clear_faults();
    sim.clear_log();
    let only_failed = ["run", "test.toml", "--only-failed"];
    place.mixflow(&only_failed).ended(0);
    assert_eq!(sim.requests().len(), 1);
    // Each day is there, and each row once.
    let text = place.read("out.csv");
    let ids: Vec<String> = csv::Reader::from_reader(text.as_bytes())
        .records()
        .map(|row| row.unwrap()[3].to_owned())
        .collect();
    let unique: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), unique.len()), (300, 300));
    assert!(text.contains("2024-01-02T"));
    place
        .mixflow(&only_failed)
        .ended(0)
        .says("nothing is missing");
}

#[test]
fn a_loaded_sink_of_the_first_minor_version_works_and_has_no_write_mode() {
    let place = Place::new();
    let pipeline = |library: &Path| sink(library, "path = \"count.txt\"");
    let library = compiled(
        &place,
        "tests/fixtures/plugin/hostile.c",
        Some("OLDER_MINOR"),
    );
    place
        .run(&pipeline(&library))
        .0
        .ended(0)
        .says("committed 500 rows");

    let keep = "[run]\nworkers = 2\non_failure = \"keep\"\n";
    let options = "path = \"count.txt\"";
    let (sim, other, ran, _) = without_the_second_day(&library, options, keep);
    ran.ended(3);
    sim.clear_faults();
    sim.clear_log();
    other
        .mixflow(&["run", "test.toml", "--only-failed"])
        .ended(2)
        .says("cannot add what is missing to `test`")
        .says("it has no write mode")
        .says("run it without `--only-failed`");
    assert_eq!(sim.requests().len(), 0);
}

#[test]
fn keep_and_abort_hold_for_a_loaded_sink() {
    let keep = "[run]\nworkers = 2\non_failure = \"keep\"\n";
    let (place, ran, report) = two_of_three_days("path = \"out.csv\"", keep);
    ran.ended(3).says("missing: 2024-01-02");
    assert_eq!(report["status"], "partial");
    let text = place.read("out.csv");
    let rows = csv::Reader::from_reader(text.as_bytes()).records().count();
    assert_eq!(report["row_count"], rows);
    assert!(rows > 100 && !text.contains("2024-01-02T"), "{rows} rows");

    let abort = "[run]\nworkers = 2\non_failure = \"abort\"\n";
    let (place, ran, report) = two_of_three_days("path = \"out.csv\"", abort);
    ran.ended(1).says("nothing was written");
    assert_eq!(report["status"], "aborted");
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn a_sink_in_c_works() {
    let place = Place::new();
    let library = compiled(&place, "sinks/abi/c/count.c", None);
    let pipeline = sink(&library, "path = \"count.txt\"");
    let (ran, report) = place.run_with(&pipeline, &["-vv"]);
    ran.ended(0)
        .says("committed 500 rows")
        .says("ready to count");
    assert_eq!(report["row_count"], 500);
    assert_eq!(place.read("count.txt"), "500\n");
    let (ran, report) = place.run(&pipeline);
    ran.ended(6)
        .says("the sink `count` of")
        .says("the file is there already")
        .says("remove it, or choose another path");
    assert_eq!(report["error"]["kind"], "destination");
}

#[test]
fn what_is_no_sink_is_refused_before_anything_else() {
    let place = Place::new();
    place.write("not.so", "this is not a library\n");
    std::fs::create_dir(place.path("folder.so")).unwrap();
    // A library for another machine: the example with another number in the
    // field of its header that says for which one it is.
    let mut elf = std::fs::read(csv()).unwrap();
    elf[18] = 0xb7;
    std::fs::write(place.path("foreign.so"), elf).unwrap();
    // Whole, but it wants a function that nobody has.
    let needy = "int none_such(void); int call(void) { return none_such(); }";
    std::fs::write(place.path("needy.c"), needy).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o", "broken.so", "needy.c"]);
    assert!(cc.current_dir(place.path("")).status().unwrap().success());
    let mut elf = std::fs::read(csv()).unwrap();
    elf.truncate(4_000);
    std::fs::write(place.path("cut.so"), &elf).unwrap();
    // Without the list of sections at its end, which the loader has no use for.
    elf[0x28..0x30].fill(0);
    elf[0x3c..0x40].fill(0);
    std::fs::write(place.path("bare.so"), &elf).unwrap();
    place.write("archive.so", "!<arch>\nlib.rmeta/");
    place.write("beside.rlib", "!<arch>\nlib.rmeta/");
    std::fs::create_dir_all(place.path("target/debug")).unwrap();
    place.write("target/debug/libx.so", "any");
    place.write("script.so", "#!/bin/sh\ncat\n");
    place.write("empty.so", "");
    let mut cc = Command::new("cc");
    cc.args(["-c", "-o", "object.so", "needy.c"]);
    assert!(cc.current_dir(place.path("")).status().unwrap().success());
    for (library, why) in [
        ("missing.so", "there is no such file"),
        ("not.so", "it is not a library, or not a whole one"),
        ("folder.so", "it is a folder"),
        ("archive.so", "under `[lib]` in its `Cargo.toml`"),
        ("archive.so", "it is an `.rlib` or `.a`"),
        (
            "beside.so",
            "cargo has made `beside.rlib`, which cannot be loaded: set `crate-type = [\"cdylib\"]`",
        ),
        (
            "target/release/libx.so",
            "there is `target/debug/libx.so`: name that, or build this one",
        ),
        ("object.so", "it is an object file, not yet linked"),
        (
            "script.so",
            "it is a script; a sink of type `exec` runs those",
        ),
        ("empty.so", "it is empty"),
        ("foreign.so", "it is for aarch64, and this is mixflow for"),
        ("cut.so", "it is not a library, or not a whole one"),
        ("bare.so", "its end is missing: it has 4000 bytes of"),
        ("broken.so", "the system cannot load it"),
        ("", "this is empty"),
    ] {
        place.write("a.toml", &sink(Path::new(library), "path = \"x\""));
        for command in ["check", "run"] {
            let ran = place.mixflow(&[command, "a.toml"]).ended(2).says(why);
            assert!(ran.stderr.contains("`sink.library`"), "{}", ran.stderr);
        }
    }
}

#[test]
fn a_bare_name_is_not_looked_for_elsewhere() {
    let place = Place::new();
    let folder = csv().parent().unwrap().to_owned();
    let name = csv().file_name().unwrap().to_owned();
    place.write("a.toml", &sink(Path::new(&name), "path = \"x\""));
    let ran = place
        .command(&["check", "a.toml"])
        .env("LD_LIBRARY_PATH", folder)
        .output()
        .unwrap();
    Ran::of(ran).ended(2).says("there is no such file");
}

#[test]
fn a_library_of_another_version_or_without_a_table_is_refused() {
    for (defined, why) in [
        (
            "NO_SYMBOL",
            "it is not a sink of mixflow: it has no `mixflow_sink_abi_version`",
        ),
        ("NO_TABLE", "it has no `mixflow_sink_table`"),
        (
            "OLDER",
            "it was built for version 0.9 of the plugin interface, this mixflow has 1.2",
        ),
        (
            "NEWER",
            "it was built for version 2.0 of the plugin interface, this mixflow has 1.2",
        ),
        ("NULL_TABLE", "its table of functions is null"),
        (
            "BAD_MAGIC",
            "its table of functions begins with something else",
        ),
        (
            "SHORT_TABLE",
            "its table of functions is too short: 64 bytes",
        ),
        ("NULL_FUNCTION", "its function `partition` is null"),
        ("NO_NAME", "it does not say what the sink is called"),
        ("NAME_NOT_UTF8", "its name is not UTF-8"),
        ("NO_SINK", "it gave no sink"),
        (
            "BAD_DESCRIPTION",
            "its description is not what it should be",
        ),
    ] {
        let place = Place::new();
        hostile_c(&place, defined).ended(2).says(why);
        assert_eq!(place.names(), ["libtest.so"], "{defined}");
    }
}

#[test]
fn a_newer_minor_version_is_taken() {
    let place = Place::new();
    hostile_c(&place, "NEWER_MINOR")
        .ended(0)
        .says("committed 500 rows");
}

#[test]
fn an_error_is_told_whatever_its_text_is() {
    for (defined, why) in [
        ("NOT_UTF8", "disk \u{fffd}\u{fffd} full"),
        ("UNRELEASED", "never given back"),
        ("NO_REASON", "it gives no reason"),
        ("UNKNOWN_KIND", "something new"),
        ("NO_TXN", "it gave no transaction"),
    ] {
        let place = Place::new();
        hostile_c(&place, defined)
            .ended(1)
            .says("the sink `count` of")
            .says(why);
        assert_eq!(place.names(), ["libtest.so"], "{defined}");
    }
}

#[test]
fn a_commit_that_cannot_be_understood_is_a_failure() {
    let place = Place::new();
    hostile_c(&place, "BAD_SUMMARY")
        .ended(1)
        .says("its summary is not what it should be")
        .says("it is not known how much went to");
}

#[test]
fn a_sink_that_speaks_of_fewer_rows_is_not_believed() {
    let place = Place::new();
    let loses = [
        (hostile_c(&place, "LOSES"), "count", "a hole"),
        // Its own guard, behind the boundary, has seen it first.
        (
            hostile_rust(&place, "commit", "loses"),
            "hostile",
            "nowhere",
        ),
    ];
    for (ran, name, hole) in loses {
        let ran = ran
            .ended(1)
            .says(&format!("the sink `{name}` of"))
            .says(&format!("what is in {hole} may be wrong"))
            .says("it is not known how much went to");
        let told = format!("500 rows were written, but {hole} speaks of 1");
        assert_eq!(ran.stderr.matches(&told).count(), 1, "{}", ran.stderr);
        assert!(!ran.stderr.contains("committed"), "{}", ran.stderr);
    }
}

#[test]
fn what_a_library_does_after_the_commit_does_no_harm() {
    // It logs from a thread of its own, and releases arrays at the very end.
    for defined in ["LATE", "KEEPS"] {
        let place = Place::new();
        let library = compiled(&place, "tests/fixtures/plugin/hostile.c", Some(defined));
        let pipeline = sink(&library, "path = \"count.txt\"");
        let (ran, _) = place.run_with(&pipeline, &["-v"]);
        ran.ended(0).says("closed");
        assert_eq!(place.read("count.txt"), "500\n");
    }
}

#[test]
fn what_a_sink_warns_of_is_seen_without_asking() {
    let logs = |more: &[&str]| {
        let place = Place::new();
        let pipeline = sink(
            &built("examples/hostile"),
            "at = \"commit\", how = \"logs\"",
        );
        place.run_with(&pipeline, more).0.ended(0)
    };
    for more in [&[][..], &["-q"]] {
        let ran = logs(more)
            .says("warning: `hostile` says: the commit was hard")
            .says("warning: `hostile` says: the commit was slow");
        assert!(!ran.stderr.contains("was done"), "{}", ran.stderr);
    }
    logs(&["-v"])
        .says("the commit was slow")
        .says("the commit was done");
}

#[test]
fn a_panic_in_any_function_is_an_error_that_names_the_sink() {
    for how in ["panic", "bomb"] {
        for at in ["open", "describe", "check_schema"] {
            let place = Place::new();
            let ran = hostile_rust(&place, at, how).ended(2);
            assert!(
                ran.stderr.contains(&format!("`{at}` panicked")),
                "{}",
                ran.stderr
            );
        }
        for at in ["preview", "begin", "partition", "write", "commit"] {
            let place = Place::new();
            let ran = hostile_rust(&place, at, how).ended(1);
            let ran = ran.says("the sink `hostile` of");
            assert!(
                ran.stderr.contains(&format!("`{at}` panicked")),
                "{}",
                ran.stderr
            );
        }
        // After the commit nobody can be told of it but the log.
        let place = Place::new();
        let library = built("examples/hostile");
        let options = format!("at = \"close\", how = \"{how}\"");
        let (ran, _) = place.run_with(&sink(&library, &options), &["-v"]);
        ran.ended(0)
            .says("committed 500 rows")
            .says("`close` panicked");
    }
}

#[test]
fn a_panic_in_abort_leaves_the_first_error_in_sight() {
    let place = Place::new();
    let library = built("examples/hostile");
    let pipeline = sink(&library, "at = \"abort\", how = \"panic\"");
    let (ran, report) = place.run(&format!("{pipeline}[run]\nmin_rows = 501\n"));
    ran.ended(1).says("fewer than `min_rows = 501`");
    assert_eq!(report["status"], "aborted");
}

#[test]
fn an_error_that_cannot_be_shown_is_an_error() {
    let place = Place::new();
    hostile_rust(&place, "write", "unspeakable")
        .ended(1)
        .says("`write` panicked")
        .says("not to be spoken of");
}

#[test]
fn the_kind_of_an_error_decides_the_exit_code() {
    let place = Place::new();
    hostile_rust(&place, "begin", "exists")
        .ended(6)
        .says("it is there")
        .says("somebody made it");
}

#[test]
fn new_sink_writes_a_crate_and_never_over_one() {
    let place = Place::new();
    place
        .mixflow(&["new-sink", "web_hook"])
        .ended(0)
        .says("cargo test")
        .says("mixflow run pipeline.toml");
    let manifest = place.read("web-hook/Cargo.toml");
    assert!(
        manifest.contains("name = \"mixflow-sink-web-hook\""),
        "{manifest}"
    );
    assert!(manifest.contains("sinks/abi\""), "{manifest}");
    let lib = place.read("web-hook/src/lib.rs");
    assert!(
        lib.contains("export_sink!(\"web_hook\", WebHookOptions, WebHookSink::new, DOC.options);"),
        "{lib}"
    );
    assert!(lib.contains("//! ```\n\nmod rows;"), "{lib}");
    let test = place.read("web-hook/tests/conformance.rs");
    assert!(
        test.contains("built_library(\"mixflow_sink_web_hook\")"),
        "{test}"
    );
    let pipeline = place.read("web-hook/pipeline.toml");
    assert!(
        pipeline.contains("libmixflow_sink_web_hook.so"),
        "{pipeline}"
    );
    for name in [
        "Cargo.toml",
        "src/lib.rs",
        "src/rows.rs",
        "tests/conformance.rs",
    ] {
        let text = place.read(&format!("web-hook/{name}")).to_lowercase();
        assert!(
            !text.contains("example"),
            "{name} still speaks of the example"
        );
    }
    place
        .mixflow(&["new-sink", "web-hook"])
        .ended(6)
        .says("`web-hook` already exists");
    for name in ["Web", "7up", "a--b", "", "a b", "../a"] {
        place.mixflow(&["new-sink", name]).ended(2);
    }
    place
        .mixflow(&["new-sink", "other", "--mixflow", "."])
        .ended(2)
        .says("is not a clone of mixflow");
}
