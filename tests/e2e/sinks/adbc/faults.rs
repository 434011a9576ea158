//! The faults of the matrix, into PostgreSQL: all the rows once, or a failure that
//! leaves what was there.

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, ExportQuery, Fault, Matcher, Simulator};

use super::server::Warehouse;
use crate::rows::form::{Event, assert_same, expected_events, sorted};
use crate::support::{sim, started};
use crate::trust::matrix::{TODAY, faults};

fn expected(sim: &Simulator, days: &[(i8, i8)]) -> Vec<Event> {
    let of = |(first, last): &(i8, i8)| {
        let query = ExportQuery::new(date(2024, 1, *first), date(2024, 1, *last));
        expected_events(sim, &query)
    };
    sorted(days.iter().flat_map(of).collect())
}

fn write(warehouse: &Warehouse, sim: &Simulator, first: i8, mode: &str, workers: usize) {
    let retry = "retry = { base_delay = \"1ms\", max_delay = \"2ms\", max_attempts = 3, max_wait = \"10s\" }";
    let days =
        format!("from = \"2024-01-0{first}\"\nto = \"2024-01-03\"\nwindow_days = 1\n{retry}");
    warehouse.write(sim, &days, mode, &format!("[run]\nworkers = {workers}\n"));
}

/// 19 faults × 4 modes × 2 numbers of workers.
fn check(passing: bool) {
    let Some(warehouse) = Warehouse::start() else {
        return;
    };
    let data = Data::generated_between(date(2024, 1, 1), date(2024, 1, 3), 240, 0, 7);
    let sim = started(sim(data));
    for (name, action, code) in faults() {
        for mode in ["create", "append", "replace", "replace_window"] {
            for workers in [1, 3] {
                sim.clear_faults();
                warehouse.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
                let _ = std::fs::remove_dir_all(warehouse.place.path("state"));
                // The third day is there.
                if mode != "create" {
                    write(&warehouse, &sim, 3, "create", 1);
                    warehouse.mixflow(&["run", "test.toml"]).ended(0);
                }
                let before = warehouse.rows();
                let action = match action.clone() {
                    Action::RateLimited { per_hour, .. } if !passing => Action::RateLimited {
                        per_hour,
                        resets_in: 80_000,
                    },
                    action => action,
                };
                let matcher = Matcher::export_from(date(2024, 1, 2));
                sim.add_fault(match passing {
                    true => Fault::once(matcher, action),
                    false => Fault::always(matcher, action),
                });
                write(&warehouse, &sim, 1, mode, workers);
                let ran = warehouse.mixflow(&["run", "test.toml"]);
                let what = format!("{name}, {mode}, {workers}, {passing}\n{}", ran.stderr);
                let partial = !passing && workers > 1 && name != TODAY;
                let ends = match (passing, partial) {
                    (true, _) => 0,
                    (_, true) => 3,
                    _ => code,
                };
                assert_eq!(ran.code, Some(ends), "{what}");
                let found = warehouse.rows();
                if ends != 0 && ends != 3 {
                    assert_eq!(found, before, "{what}");
                    continue;
                }
                let mut days = match partial {
                    true => vec![(1, 1), (3, 3)],
                    false => vec![(1, 3)],
                };
                if mode == "append" {
                    days.push((3, 3));
                }
                eprintln!("{what}");
                assert_same(&found.unwrap(), &expected(&sim, &days));
                warehouse.ledger_agrees();
            }
        }
    }
}

#[test]
fn after_a_fault_that_passes_all_rows_are_in_the_table_once() {
    check(true);
}

#[test]
fn after_a_fault_that_stays_the_table_is_as_it_was_or_what_is_missing_is_named() {
    check(false);
}
