//! A disk that fills at any moment of a DuckDB run.

use jiff::civil::date;
use mixflow_tests::sim::Data;

use crate::sinks::destinations::mounted;
use crate::support::{DUCKDB, Place, events, pipeline, sim, started};

const ROWS: u64 = 6_000;

/// What a pipeline reads in these tests, without a server.
const SOURCE: &str = "[source]\ntype = \"synthetic_events\"\nrows = 6000\nseed = 1\nfrom = \"2024-01-01\"\nto = \"2024-01-02\"\n";

fn sink(path: &str, mode: &str) -> String {
    format!("[sink]\ntype = \"duckdb\"\npath = \"{path}\"\nmode = \"{mode}\"\n")
}

/// How a run into a file system of some size ended.
#[derive(Debug)]
struct Tried {
    code: String,
    rows: String,
    names: Vec<String>,
}

/// Runs into file systems of several sizes, in percent of what the database
/// takes; `prepare` is done in each before.
fn tries(place: &Place, mode: &str, percents: &str, prepare: &str) -> Option<Vec<Tried>> {
    std::fs::create_dir(place.path("small")).unwrap();
    place.write("ref.toml", &pipeline(&[SOURCE, &sink("ref.db", "create")]));
    let small = sink("small/out.db", mode);
    place.write("small.toml", &pipeline(&[SOURCE, &small]));
    let binary = env!("CARGO_BIN_EXE_mixflow");
    let script = format!(
        "{binary} run -q ref.toml || exit 98
         size=$(stat -c %s ref.db); echo size $size
         for percent in {percents}; do
             mount -t tmpfs -o size=$((size * percent / 100 / 4096 * 4096)) tmpfs small || exit 99
             {prepare}
             {binary} run -q small.toml 2>said
             code=$?
             rows=$({binary} query --db small/out.db --scalar 'SELECT count(*) FROM events' 2>/dev/null || echo none)
             echo try $percent $code $rows $(ls -A small); ls -ls small
             [ $code = 0 ] || cat said >&2
             umount small
         done"
    );
    let ran = mounted(place, &script)?;
    let said = ran.stdout_lossy();
    eprintln!("{said}\n{}", ran.stderr);
    let tried = said.lines().filter_map(|line| {
        let mut words = line
            .strip_prefix("try ")?
            .split(' ')
            .map(str::to_owned)
            .skip(1);
        Some(Tried {
            code: words.next()?,
            rows: words.next()?,
            names: words.collect(),
        })
    });
    let tried: Vec<Tried> = tried.collect();
    let codes: Vec<&str> = tried.iter().map(|tried| &*tried.code).collect();
    assert!(codes.contains(&"0") && codes.contains(&"1"), "{tried:?}");
    ran.says("free some disk space");
    Some(tried)
}

#[test]
fn a_new_database_is_whole_or_not_there() {
    let place = Place::new();
    let percents = "30 100 200 300 350 400 450 500 550 600 650 700 800 1000 1500";
    let Some(tried) = tries(&place, "create", percents, "") else {
        return;
    };
    for tried in tried {
        match &*tried.code {
            "0" => assert_eq!(
                (&*tried.rows, &tried.names[..]),
                (&*ROWS.to_string(), &["out.db".to_owned()][..]),
                "{tried:?}"
            ),
            _ => assert_eq!((&*tried.code, tried.names.len()), ("1", 0), "{tried:?}"),
        }
    }
}

#[test]
fn rows_that_are_added_are_all_there_or_none_of_them() {
    let place = Place::new();
    let percents = "110 200 300 400 450 500 550 600 650 700 750 800 1000 1500";
    let prepare = "cp ref.db small/out.db || exit 97";
    let Some(tried) = tries(&place, "append", percents, prepare) else {
        return;
    };
    for tried in tried {
        let expected = match &*tried.code {
            "0" => 2 * ROWS,
            _ => ROWS,
        };
        assert_eq!(tried.rows, expected.to_string(), "{tried:?}");
        assert!(matches!(&*tried.code, "0" | "1"), "{tried:?}");
    }
}

#[test]
fn a_table_that_is_replaced_is_the_old_or_the_new_one() {
    let place = Place::new();
    let percents = "110 250 400 500 550 600 650 700 800 1000 1500";
    let prepare = "cp ref.db small/out.db || exit 97";
    let Some(tried) = tries(&place, "replace", percents, prepare) else {
        return;
    };
    for tried in tried {
        assert_eq!(tried.rows, ROWS.to_string(), "{tried:?}");
        assert!(matches!(&*tried.code, "0" | "1"), "{tried:?}");
    }
}

/// The same without a file system of its own: no file may grow further.
#[cfg(unix)]
#[test]
fn a_file_that_may_not_grow_is_a_full_disk_and_the_next_run_goes_on() {
    let days = (date(2024, 1, 1), date(2024, 1, 2));
    let sim = started(sim(Data::generated_between(days.0, days.1, 6_000, 0, 7)));
    let place = Place::new();
    let source = events(
        &sim,
        "from = \"2024-01-01\"\nto = \"2024-01-02\"\nwindow_days = 1",
    );
    place.write("test.toml", &pipeline(&[&source, DUCKDB]));
    let binary = env!("CARGO_BIN_EXE_mixflow");
    // In 512 bytes: more than the bodies, less than the database.
    let script = format!("trap '' XFSZ; ulimit -f 1500; exec {binary} run -q test.toml");
    let command = place.command(&[]);
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .current_dir(place.path(""))
        .output()
        .unwrap();
    let ran = crate::support::Ran::of(output).ended(1);
    ran.says("free some disk space").says("nothing was written");
    assert_eq!(place.names(), Vec::<String>::new());
    let requests = sim.requests().len();
    let ran = place.mixflow(&["run", "-q", "test.toml"]).ended(0);
    assert_eq!(ran.stderr, "");
    assert_eq!(sim.requests().len(), requests, "it asked again");
    assert!(place.path("out.db").exists());
}

#[test]
fn a_log_without_its_database_is_told_before_any_request() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    place.write("out.db.wal", "of another database");
    let source = events(&sim, "");
    for mode in ["create", "append", "replace", "replace_window"] {
        place
            .run(&pipeline(&[&source, &sink("out.db", mode)]))
            .0
            .ended(6)
            .says("`out.db.wal` is there, the log of a database that is gone")
            .says("hint: move `out.db.wal` away");
    }
    assert_eq!(sim.requests().len(), 0);
    assert_eq!(place.names(), ["out.db.wal"]);
    assert!(mixflow::Store::open(place.path("out.db")).is_err());
    std::fs::remove_file(place.path("out.db.wal")).unwrap();
    place.run(&pipeline(&[&source, DUCKDB])).0.ended(0);
    assert_eq!(place.names(), ["out.db"]);
}
