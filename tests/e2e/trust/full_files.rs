//! A disk that is full at any moment of a run that writes files: what was
//! there is as it was, the run says so, and the next one has all the rows.

use jiff::civil::date;
use mixflow_tests::sim::{Data, ExportQuery, Simulator};

use crate::rows::form::{Event, assert_same, expected_events, sorted, written_by};
use crate::sinks::destinations::mounted;
use crate::support::{Place, Ran, STDOUT, events, pipeline, sim, started};

const SINKS: [(&str, &str); 3] = [
    ("parquet", "out"),
    ("parquet", "out.parquet"),
    ("jsonl", "out.jsonl"),
];

fn data() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 3), 6_000, 0, 7)
}

fn source(sim: &Simulator, first: i8) -> String {
    let days = format!("from = \"2024-01-0{first}\"\nto = \"2024-01-03\"\nwindow_days = 1\n");
    events(sim, &days)
}

fn text(sim: &Simulator, first: i8, kind: &str, path: &str, mode: &str) -> String {
    let sink = format!("[sink]\ntype = \"{kind}\"\npath = \"{path}\"\nmode = \"{mode}\"\n");
    pipeline(&[&source(sim, first), &sink])
}

/// The room for a run, in hundredths of what its result takes.
const ROOMS: [u32; 8] = [2, 30, 60, 80, 90, 96, 99, 104];

/// Runs `second.toml` again and again, on a disk with ever more room beside
/// what is there already. `$1` is the binary, `$2` where the sink writes, `$3`
/// the mode; the rest are the rooms.
const SCRIPT: &str = r#"
binary=$1 path=$2 mode=$3
shift 3
used() { df -k small | awk 'END { print $3 }'; }
mount -t tmpfs -o size=64m tmpfs small || exit 99
$binary run -q whole.toml || exit 98
need=$(used)
for room in "$@"; do
    rm -rf small/* small/.[!.]*
    mount -o remount,size=64m small || exit 99
    if [ $mode = replace ]; then $binary run -q first.toml || exit 97; fi
    there=$(used)
    mount -o remount,size=$((there + need * room / 100))k small || exit 99
    $binary run second.toml 2> said-$room
    code=$?
    cp -r small then-$room
    mount -o remount,size=64m small || exit 99
    again=0
    if [ $code != 0 ]; then $binary run -q second.toml 2>> said-$room; again=$?; fi
    cp -r small/$path result-$room
    left=$(ls -A small)
    echo "$room $code $again $left"
done
"#;

/// What the line of a room says.
struct Line<'l> {
    room: &'l str,
    code: &'l str,
    again: &'l str,
    left: &'l str,
}

fn line(text: &str) -> Line<'_> {
    let words: Vec<&str> = text.split(' ').collect();
    let [room, code, again, left] = words[..] else {
        panic!("`{text}` is not a line of the script");
    };
    Line {
        room,
        code,
        again,
        left,
    }
}

fn check(sim: &Simulator, kind: &str, path: &str, mode: &str) -> bool {
    let place = Place::new();
    std::fs::create_dir(place.path("small")).unwrap();
    let target = format!("small/{path}");
    place.write("whole.toml", &text(sim, 1, kind, &target, "create"));
    place.write("first.toml", &text(sim, 3, kind, &target, "create"));
    place.write("second.toml", &text(sim, 1, kind, &target, mode));
    place.write("script.sh", SCRIPT);
    let binary = env!("CARGO_BIN_EXE_mixflow");
    let rooms = ROOMS.map(|room| room.to_string()).join(" ");
    let script = format!("sh script.sh {binary} {path} {mode} {rooms}");
    let Some(ran) = mounted(&place, &script) else {
        return false;
    };
    let ran = ran.ended(0);
    let said = ran.stdout_lossy();
    let all = expected(sim, 1);
    let old = expected(sim, 3);
    let lines: Vec<Line<'_>> = said.lines().map(line).collect();
    assert_eq!(lines.len(), ROOMS.len(), "{said}\n{}", ran.stderr);
    for line in &lines {
        let stderr = place.read(&format!("said-{}", line.room));
        let what = format!("{kind}, {mode}, room {}:\n{said}\n{stderr}", line.room);
        if line.code != "0" {
            assert_eq!(line.code, "1", "{what}");
            let then = place.path(format!("then-{}", line.room));
            if mode == "replace" {
                assert_same(&written_by(kind, &then.join(path)), &old);
            } else {
                let there = then.read_dir().unwrap().count();
                assert_eq!(there, 0, "{what}");
            }
            assert!(stderr.contains("No space left on device"), "{what}");
            assert!(stderr.contains(path), "{what}");
            assert!(stderr.contains("nothing was written"), "{what}");
        }
        assert_eq!((line.again, line.left), ("0", path), "{what}");
        let result = place.path(format!("result-{}", line.room));
        // Readers look at the extension.
        let result = match path.split_once('.') {
            Some((_, extension)) => {
                let named = result.with_extension(extension);
                std::fs::rename(&result, &named).unwrap();
                named
            }
            None => result,
        };
        eprintln!("{what}");
        assert_same(&written_by(kind, &result), &all);
    }
    // There was too little room, and there was enough.
    assert_eq!(lines.first().unwrap().code, "1", "{said}");
    true
}

/// The rows from a day to the third, sorted.
fn expected(sim: &Simulator, first: i8) -> Vec<Event> {
    let days = ExportQuery::new(date(2024, 1, first), date(2024, 1, 3));
    sorted(expected_events(sim, &days))
}

#[test]
fn a_disk_that_is_full_at_any_moment_loses_nothing() {
    let sim = started(sim(data()));
    for (kind, path) in SINKS {
        for mode in ["create", "replace"] {
            if !check(&sim, kind, path, mode) {
                return;
            }
        }
    }
}

/// Where nothing can be mounted, a limit on the size of a file is as good.
#[test]
fn a_file_that_may_not_grow_is_a_full_disk() {
    let sim = started(sim(data()));
    let all = expected(&sim, 1);
    for (kind, path) in SINKS {
        for mode in ["create", "replace"] {
            let place = Place::new();
            place.run(&text(&sim, 1, kind, path, "create")).0.ended(0);
            let largest = largest(&place.path(path));
            remove(&place, path);
            if mode == "replace" {
                place.run(&text(&sim, 3, kind, path, "create")).0.ended(0);
            }
            let old = place.path(path).exists();
            let old = old.then(|| written_by(kind, &place.path(path)));
            place.write("second.toml", &text(&sim, 1, kind, path, mode));
            let binary = env!("CARGO_BIN_EXE_mixflow");
            for part in [3, 6, 9] {
                // In blocks of 512 bytes; beyond it a write fails with EFBIG.
                let blocks = largest * part / 10 / 512;
                let script =
                    format!("trap '' XFSZ; ulimit -f {blocks}; exec {binary} run second.toml");
                let mut command = place.command(&[]);
                let envs: Vec<_> = command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
                    .collect();
                command = std::process::Command::new("sh");
                command
                    .args(["-c", &script])
                    .env_clear()
                    .envs(envs)
                    .env("PATH", "/usr/bin:/bin")
                    .current_dir(place.path(""));
                let ran = Ran::of(command.output().unwrap());
                let what = format!("{kind}, {mode}, {part} tenths:\n{}", ran.stderr);
                assert_eq!(ran.code, Some(1), "{what}");
                assert!(ran.stderr.contains("File too large"), "{what}");
                assert!(ran.stderr.contains(path), "{what}");
                let found = place.path(path).exists();
                let found = found.then(|| written_by(kind, &place.path(path)));
                assert_eq!(found, old, "{what}");
            }
            place.mixflow(&["run", "second.toml"]).ended(0);
            assert_same(&written_by(kind, &place.path(path)), &all);
            assert_eq!(place.names(), [path]);
        }
    }
}

#[test]
fn a_full_standard_output_is_told() {
    let sim = started(sim(data()));
    let place = Place::new();
    place.write("test.toml", &pipeline(&[&source(&sim, 1), STDOUT]));
    for n in ["1", "3"] {
        let workers = format!("run.workers={n}");
        let mut command = place.command(&["run", "test.toml", "--set", &workers]);
        command.stdout(std::fs::File::create("/dev/full").unwrap());
        Ran::of(command.output().unwrap())
            .ended(1)
            .says("cannot write to standard output")
            .says("No space left on device");
    }
}

/// The bytes of a file, or of the largest one in a folder.
fn largest(path: &std::path::Path) -> u64 {
    if !path.is_dir() {
        return path.metadata().unwrap().len();
    }
    let entries = std::fs::read_dir(path).unwrap();
    let sizes = entries.map(|entry| largest(&entry.unwrap().path()));
    sizes.max().unwrap()
}

fn remove(place: &Place, path: &str) {
    let path = place.path(path);
    if path.is_dir() {
        std::fs::remove_dir_all(path).unwrap();
    } else {
        std::fs::remove_file(path).unwrap();
    }
}
