//! Faults × sinks × modes × workers: all the rows once, or a failure that
//! leaves what was there, and never anything in between.

use jiff::civil::date;
use mixflow_tests::sim::{Action, CleanCut, Cut, Data, Fault, Matcher, Simulator, Unframed};

use crate::rows::form::{Event, assert_same, expected_events, in_lines, sorted, written_by};
use crate::support::{Place, STDOUT, events, pipeline, sim, started, workers};

fn data() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 3), 240, 0, 7)
}

fn status(code: u16, retry_after: Option<&str>) -> Action {
    Action::Status {
        code,
        retry_after: retry_after.map(str::to_owned),
        body: None,
    }
}

/// A 429 as of 2026. One that stays ends the run under any policy.
pub const TODAY: &str = "429 of today";

/// A fault, and the exit code of a run that meets it for ever.
pub fn faults() -> Vec<(&'static str, Action, i32)> {
    let early = |after_rows| Action::TerminatedEarly {
        after_rows,
        text: "terminated early".to_owned(),
    };
    let redirect = Action::Redirect {
        code: 302,
        location: "http://127.0.0.1:9/".to_owned(),
    };
    vec![
        ("429", status(429, Some("0")), 5),
        (
            TODAY,
            Action::RateLimited {
                per_hour: 60,
                resets_in: 1,
            },
            5,
        ),
        ("408", status(408, None), 1),
        ("500", status(500, None), 1),
        ("503", status(503, Some("0")), 1),
        ("drop", Action::Drop, 1),
        ("cut at the start", Action::CutBody(Cut::Bytes(1)), 1),
        ("cut in the middle", Action::CutBody(Cut::Fraction(0.5)), 1),
        ("cut at the end", Action::CutBody(Cut::Fraction(1.0)), 1),
        ("no trailer", Action::CutClean(CleanCut::GzipTrailer), 1),
        ("half a stream", Action::CutClean(CleanCut::GzipMiddle), 1),
        ("half a line", Action::CutClean(CleanCut::Line), 1),
        ("wrong checksum", Action::CorruptGzip, 1),
        ("terminated early", early(40), 1),
        ("terminated at once", early(0), 1),
        ("error line", Action::ErrorLine { after_rows: 40 }, 1),
        ("unframed, cut", Action::Unframed(Unframed::Cut), 1),
        ("unframed, reset", Action::Unframed(Unframed::Reset), 1),
        ("redirect", redirect, 1),
    ]
}

#[derive(Clone, Copy, PartialEq)]
enum To {
    Duckdb,
    Delta,
    Folder,
    File,
    Lines,
    Stdout,
}

const COMBINATIONS: [(To, &str); 15] = [
    (To::Duckdb, "create"),
    (To::Duckdb, "append"),
    (To::Duckdb, "replace"),
    (To::Duckdb, "replace_window"),
    (To::Delta, "append"),
    (To::Delta, "replace"),
    (To::Delta, "replace_window"),
    (To::Folder, "append"),
    (To::Folder, "replace"),
    (To::Folder, "replace_window"),
    (To::File, "create"),
    (To::File, "replace"),
    (To::Lines, "append"),
    (To::Lines, "replace"),
    (To::Stdout, ""),
];

impl To {
    /// The type of the sink and where it writes; `None` for standard output.
    fn place(self) -> Option<(&'static str, &'static str)> {
        match self {
            To::Duckdb => Some(("duckdb", "out.db")),
            To::Delta => Some(("delta", "out")),
            To::Folder => Some(("parquet", "out")),
            To::File => Some(("parquet", "out.parquet")),
            To::Lines => Some(("jsonl", "out.jsonl")),
            To::Stdout => None,
        }
    }

    fn sink(self, mode: &str) -> String {
        match self.place() {
            Some((kind, path)) => {
                format!("[sink]\ntype = \"{kind}\"\npath = \"{path}\"\nmode = \"{mode}\"\n")
            }
            None => STDOUT.to_owned(),
        }
    }

    /// The rows at the destination, sorted; `None` if there is nothing.
    fn rows(self, place: &Place, stdout: &[u8]) -> Option<Vec<Event>> {
        match self.place() {
            Some((kind, path)) => {
                let path = place.path(path);
                path.exists().then(|| written_by(kind, &path))
            }
            None => Some(sorted(in_lines(stdout))),
        }
    }
}

fn days(from: i8, to: i8) -> mixflow_tests::sim::ExportQuery {
    mixflow_tests::sim::ExportQuery::new(date(2024, 1, from), date(2024, 1, to))
}

fn source(sim: &Simulator, first: i8) -> String {
    let retry = "retry = { base_delay = \"1ms\", max_delay = \"2ms\", max_attempts = 3, max_wait = \"10s\" }";
    events(
        sim,
        &format!("from = \"2024-01-0{first}\"\nto = \"2024-01-03\"\nwindow_days = 1\n{retry}"),
    )
}

/// What was there before the run that meets the fault: the third day.
fn before(sim: &Simulator, to: To, mode: &str) -> Place {
    let place = Place::new();
    if mode != "create" && to != To::Stdout {
        let first_mode = match mode {
            "replace_window" => "replace_window",
            _ => "append",
        };
        let first_mode = if to == To::File { "create" } else { first_mode };
        let text = pipeline(&[&source(sim, 3), &to.sink(first_mode)]);
        place.run(&text).0.ended(0);
    }
    place
}

fn check(sim: &Simulator, name: &str, passing: bool, code: i32) {
    for (to, mode) in COMBINATIONS {
        for n in [1, 3] {
            sim.clear_faults();
            let place = before(sim, to, mode);
            let old = to.rows(&place, b"");
            let action = faults()
                .into_iter()
                .find(|fault| fault.0 == name)
                .unwrap()
                .1;
            let action = match action {
                // An hour that is over in a second is believed again whenever
                // another window goes through; one that stays is not waited for.
                Action::RateLimited { per_hour, .. } if !passing => Action::RateLimited {
                    per_hour,
                    resets_in: 80_000,
                },
                action => action,
            };
            let matcher = Matcher::export_from(date(2024, 1, 2));
            sim.add_fault(if passing {
                Fault::once(matcher, action)
            } else {
                Fault::always(matcher, action)
            });
            let text = pipeline(&[&source(sim, 1), &to.sink(mode), &workers(n)]);
            let (ran, report) = place.run(&text);
            let what = format!(
                "{name}, {}, {mode}, {n} workers, passing: {passing}\n{}",
                to.sink(mode),
                ran.stderr
            );
            let found = to.rows(&place, &ran.stdout);
            // One worker aborts, several keep what they have.
            let partial = !passing && n > 1 && name != TODAY;
            let expected_code = match (passing, partial) {
                (true, _) => 0,
                (_, true) => 3,
                _ => code,
            };
            assert_eq!(ran.code, Some(expected_code), "{what}");
            let fetched = match (passing, partial) {
                (true, _) => expected_events(sim, &days(1, 3)),
                (_, true) => [
                    expected_events(sim, &days(1, 1)),
                    expected_events(sim, &days(3, 3)),
                ]
                .concat(),
                _ if to == To::Stdout && n > 1 => {
                    // Whole days, in any order.
                    let all = expected_events(sim, &days(1, 3));
                    assert!(found.unwrap().iter().all(|row| all.contains(row)), "{what}");
                    continue;
                }
                _ if to == To::Stdout => {
                    // Rows in their order, as many as the report says.
                    let all = expected_events(sim, &days(1, 3));
                    let written = report["row_count"].as_u64().unwrap() as usize;
                    all[..written].to_vec()
                }
                _ => {
                    assert_eq!(found, old, "{what}");
                    assert_eq!(report["residue"], "none", "{what}");
                    continue;
                }
            };
            let expected = match mode {
                "append" => [old.unwrap_or_default(), fetched].concat(),
                _ => fetched,
            };
            eprintln!("{what}");
            assert_same(&found.unwrap(), &sorted(expected));
            assert_eq!(
                report["failed_partitions"].as_array().unwrap().len(),
                usize::from(!passing),
                "{what}"
            );
        }
    }
}

/// 19 faults that pass × 15 destinations and modes × 2 numbers of workers.
#[test]
fn after_a_fault_that_passes_all_rows_are_there_once() {
    let sim = started(sim(data()));
    for (name, _, code) in faults() {
        check(&sim, name, true, code);
    }
}

/// The same 570 with faults that stay.
#[test]
fn after_a_fault_that_stays_nothing_is_there_or_what_is_missing_is_named() {
    let sim = started(sim(data()));
    for (name, _, code) in faults() {
        check(&sim, name, false, code);
    }
}
