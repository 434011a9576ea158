//! A year of daily runs with a clock that is set: outages, days that fail, late
//! events, two pipelines into one file, and kills at random. Whatever happens,
//! the table is what its ledger says, and in the end nothing is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use jiff::civil::{Date, date};
use jiff::{Span, Timestamp};
use mixflow_tests::sim::{Action, Data, Fault, Matcher, Simulator};

use crate::support::{Place, Ran, events, pipeline, sim, started};

const FIRST: Date = date(2023, 1, 1);
const DAYS: i64 = 365;

/// The longest that an event takes to arrive, in days.
const LATEST: u64 = 5;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn day(n: i64) -> Date {
    FIRST.saturating_add(Span::new().days(n))
}

/// An event: its day and the morning from which on the server has it, both
/// counted from the first day.
struct Event {
    id: String,
    name: &'static str,
    day: i64,
    there_on: i64,
}

fn all_events(dice: &mut Dice) -> Vec<Event> {
    let mut all = Vec::new();
    for day in 0..DAYS {
        // Some days are empty, some of another size.
        let number = if dice.one_in(20) {
            0
        } else {
            3 + dice.below(8)
        };
        for n in 0..number {
            let late = if dice.one_in(5) {
                dice.below(LATEST + 1)
            } else {
                0
            };
            all.push(Event {
                id: format!("{day}-{n}"),
                name: if dice.one_in(3) { "A" } else { "B" },
                day,
                there_on: day + 1 + late as i64,
            });
        }
    }
    all
}

/// What the server has on a morning.
fn data_on(morning: i64, events: &[Event]) -> Data {
    let mut data = Data::default();
    for event in events.iter().filter(|event| event.there_on <= morning) {
        let seconds = at_noon(event.day).as_second();
        let line = format!(
            r#"{{"event":"{}","properties":{{"time":{seconds},"distinct_id":"u","$insert_id":"{}"}}}}"#,
            event.name, event.id
        );
        data.add_raw_line(day(event.day), line.as_bytes());
    }
    data
}

fn at_noon(n: i64) -> Timestamp {
    format!("{}T12:00:00Z", day(n)).parse().unwrap()
}

/// A table that a pipeline fills, and which events belong into it.
struct Target {
    table: &'static str,
    file: &'static str,
    of_it: fn(&Event) -> bool,
}

const ALL: Target = Target {
    table: "events",
    file: "all.toml",
    of_it: |_| true,
};

const SOME: Target = Target {
    table: "a_only",
    file: "some.toml",
    of_it: |event| event.name == "A",
};

impl Target {
    fn text(&self, sim: &Simulator, more: &str) -> String {
        let days = format!(
            "from = \"last\"\nto = \"yesterday\"\nstart = \"{FIRST}\"\nlookback = \"6d\"\n\
             window_days = \"auto\"\n{more}"
        );
        let sink = format!(
            "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\nmode = \"replace_window\"\n\
             table = \"{}\"\n\n[run]\nworkers = 2\non_failure = \"keep\"\n",
            self.table
        );
        pipeline(&[&events(sim, &days), &sink])
    }

    /// Runs the pipeline in the morning, and kills it after so many of its
    /// lines. Returns how it ended, if it did.
    fn run(&self, place: &Place, morning: i64, lines: Option<u64>) -> Option<Ran> {
        let mut command = place.command(&["run", self.file, "--progress", "json"]);
        command.env("MIXFLOW_NOW", format!("{}T03:00:00Z", day(morning)));
        let Some(lines) = lines else {
            return Some(Ran::of(command.output().unwrap()));
        };
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        for _ in 0..lines {
            said.next();
        }
        let _ = child.kill();
        child.wait().unwrap();
        None
    }

    /// Compares the table with what the server had when, as the ledger says,
    /// each day was fetched; returns the days.
    fn check(&self, place: &Place, morning: i64, all: &[Event]) -> BTreeSet<Date> {
        let held = place.sql(
            "out.db",
            &format!(
                "SELECT day, fetched_at::DATE, rows, state FROM _mixflow_days \
                 WHERE table_name = '{}'",
                self.table
            ),
        );
        let mut fetched: BTreeMap<Date, (i64, String, String)> = BTreeMap::new();
        for row in held {
            let on: Date = row[1].parse().unwrap();
            let on = i64::from((on - FIRST).get_days());
            fetched.insert(
                row[0].parse().unwrap(),
                (on, row[2].clone(), row[3].clone()),
            );
        }
        let mut expected: Vec<&str> = Vec::new();
        for (date, (on, rows, state)) in &fetched {
            let of_day = all
                .iter()
                .filter(|event| (self.of_it)(event) && day(event.day) == *date)
                .filter(|event| event.there_on <= *on);
            let ids: Vec<&str> = of_day.map(|event| event.id.as_str()).collect();
            assert_eq!(*rows, ids.len().to_string(), "{date} on morning {morning}");
            assert_eq!(
                state == "empty",
                ids.is_empty(),
                "{date} on morning {morning}"
            );
            expected.extend(ids);
        }
        expected.sort_unstable();
        let ids = format!("SELECT insert_id FROM {} ORDER BY insert_id", self.table);
        let found: Vec<String> = place.sql("out.db", &ids).into_iter().flatten().collect();
        assert_eq!(found, expected, "{} on morning {morning}", self.table);
        fetched.into_keys().collect()
    }
}

/// What happens in the night.
enum Night {
    Quiet,
    /// The machine is off.
    Off,
    /// Some of the requests fail.
    Failing,
    /// The run is killed after so many of its lines.
    Killed(u64),
}

fn night(dice: &mut Dice, off_until: &mut i64, morning: i64) -> Night {
    if morning < *off_until {
        return Night::Off;
    }
    match dice.below(20) {
        0 => {
            *off_until = morning + 1 + dice.below(12) as i64;
            Night::Off
        }
        1 | 2 => Night::Failing,
        3..=5 => Night::Killed(1 + dice.below(8)),
        _ => Night::Quiet,
    }
}

#[test]
fn after_a_year_of_accidents_no_day_is_missing_and_no_row_is_wrong() {
    let mut dice = Dice(20_240_229);
    let all = all_events(&mut dice);
    let sim = started(sim(Data::default()));
    let place = Place::new();
    place.write(ALL.file, &ALL.text(&sim, ""));
    place.write(SOME.file, &SOME.text(&sim, "events = [\"A\"]\n"));
    let mut off_until = 0;
    for morning in 1..=DAYS + LATEST as i64 + 1 {
        let last = morning > DAYS;
        sim.set_data(data_on(morning, &all));
        let night = night(&mut dice, &mut off_until, morning);
        for target in [&ALL, &SOME] {
            // The second one is for every third day.
            if target.table == SOME.table && !last && !dice.one_in(3) {
                continue;
            }
            match night {
                Night::Off if !last => continue,
                Night::Failing if !last => {
                    let refusal = Action::Status {
                        code: 404,
                        retry_after: None,
                        body: None,
                    };
                    let which = Matcher::export().nth(1 + dice.below(2) as u32);
                    sim.add_fault(Fault::once(which, refusal));
                    target.run(&place, morning, None);
                    sim.clear_faults();
                }
                Night::Killed(lines) if !last => {
                    target.run(&place, morning, Some(lines));
                }
                _ => {
                    let ran = target.run(&place, morning, None);
                    ran.expect("nobody kills it").ended(0);
                    let held = target.check(&place, morning, &all);
                    // Every day until yesterday, whatever happened before.
                    let until_yesterday: BTreeSet<Date> = (0..morning).map(day).collect();
                    assert_eq!(held, until_yesterday, "{}", target.table);
                    continue;
                }
            }
            if place.path("out.db").exists() && has(&place, target.table) {
                target.check(&place, morning, &all);
            }
        }
    }
    // All that ever happened is there, however late it came.
    for target in [&ALL, &SOME] {
        let count = format!("SELECT count(*) FROM {}", target.table);
        let of_it = all.iter().filter(|event| (target.of_it)(event)).count();
        assert_eq!(place.sql("out.db", &count), [[of_it.to_string()]]);
    }
}

fn has(place: &Place, table: &str) -> bool {
    let sql = format!("SELECT count(*) FROM duckdb_tables() WHERE table_name = '{table}'");
    place.sql("out.db", &sql) != [["0"]]
}
