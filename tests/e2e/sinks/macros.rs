//! The table macros that a run leaves in a database, against a model of each
//! that goes through the rows one by one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use mixflow::Store;
use mixflow_tests::sim::Data;

use crate::rows::form::{Event, Profile, in_table};
use crate::support::{DUCKDB, Place, events, pipeline, profiles, sim, started};

const HOUR: i64 = 3_600_000_000;

/// The sample, its events spread over two weeks, and its profiles.
fn filled() -> Place {
    let data = Data::sample().spread(date(2024, 1, 1), date(2024, 1, 14));
    let sim = started(sim(data));
    let place = Place::new();
    for source in [events(&sim, ""), profiles(&sim, "")] {
        place.run(&pipeline(&[&source, DUCKDB])).0.ended(0);
    }
    place
}

fn rows(place: &Place) -> Vec<Event> {
    let mut rows: Vec<Event> = in_table(&place.path("out.db"), "events");
    rows.sort();
    rows
}

fn day(us: i64) -> Date {
    let at = Timestamp::from_microsecond(us).unwrap();
    at.to_zoned(TimeZone::UTC).date()
}

/// The times of each person's events of a name, or of any, in order.
fn by_person<'r>(rows: &'r [Event], name: Option<&str>) -> BTreeMap<&'r str, Vec<i64>> {
    let mut people: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for row in rows {
        if name.is_none_or(|name| row.event_name == name) {
            let times = people.entry(&row.distinct_id).or_default();
            times.push(row.event_time_us);
        }
    }
    people
}

fn texts<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> Vec<Vec<String>> {
    rows.into_iter().map(Vec::from).collect()
}

fn share(part: usize, whole: usize) -> String {
    let thousandths = (part as f64 / whole as f64 * 1000.0).round();
    format!("{thousandths}")
}

#[test]
fn mf_daily_counts_rows_and_people_of_each_day() {
    let place = filled();
    let rows = rows(&place);
    for (argument, name) in [("'checkout'", Some("checkout")), ("NULL", None)] {
        let mut days: BTreeMap<Date, (u64, BTreeSet<&str>)> = BTreeMap::new();
        for row in rows
            .iter()
            .filter(|row| name.is_none_or(|name| row.event_name == name))
        {
            let (n, people) = days.entry(day(row.event_time_us)).or_default();
            *n += 1;
            people.insert(&row.distinct_id);
        }
        assert_eq!(days.len(), 14);
        let model =
            texts(days.iter().map(|(day, (n, people))| {
                [day.to_string(), n.to_string(), people.len().to_string()]
            }));
        assert_eq!(
            place.sql("out.db", &format!("FROM mf_daily({argument})")),
            model
        );
    }
}

/// How many steps a person gets through, who begins at each of the first one's
/// times and takes for each step the first time that is later.
fn reached(steps: &[Vec<i64>], within: i64) -> usize {
    let goes = steps[0].iter().map(|began| {
        let mut at = *began;
        let later = steps[1..].iter().take_while(|times| {
            let next = times.iter().find(|time| **time > at);
            match next {
                Some(time) if *time <= began + within => {
                    at = *time;
                    true
                }
                _ => false,
            }
        });
        1 + later.count()
    });
    goes.max().unwrap_or(0)
}

#[test]
fn mf_funnel_counts_people_who_do_the_steps_in_time() {
    let place = filled();
    let rows = rows(&place);
    for (steps, hours) in [
        (vec!["sign up", "view item", "add to cart", "checkout"], 200),
        (vec!["page view", "page view", "watch video"], 24),
        (vec!["view item", "checkout"], 3),
        (vec!["checkout"], 1),
        (vec!["view item", "no such event", "checkout"], 100),
    ] {
        let of_steps: Vec<_> = steps
            .iter()
            .map(|name| by_person(&rows, Some(name)))
            .collect();
        let mut people = vec![0; steps.len()];
        for person in of_steps[0].keys() {
            let times: Vec<Vec<i64>> = of_steps
                .iter()
                .map(|of_step| of_step.get(person).cloned().unwrap_or_default())
                .collect();
            let reached = reached(&times, hours * HOUR);
            people[..reached].iter_mut().for_each(|people| *people += 1);
        }
        let model = texts((0..steps.len()).map(|n| {
            let share = share(people[n], people[0]);
            [
                (n + 1).to_string(),
                steps[n].to_owned(),
                people[n].to_string(),
                share,
            ]
        }));
        let sql = format!(
            "SELECT step, event, people, round(share * 1000)::BIGINT FROM mf_funnel({steps:?}, INTERVAL {hours} HOUR)"
        );
        assert_eq!(place.sql("out.db", &sql.replace('"', "'")), model);
    }
    let nobody = "SELECT people, share FROM mf_funnel(['no such event'], INTERVAL 1 DAY)";
    assert_eq!(place.sql("out.db", nobody), [["0", "NULL"]]);
}

#[test]
fn mf_retention_counts_who_comes_again_on_each_later_day() {
    let place = filled();
    let rows = rows(&place);
    let last = day(rows.iter().map(|row| row.event_time_us).max().unwrap());
    for (arguments, first, again) in [
        ("'sign up', 'page view'", Some("sign up"), Some("page view")),
        ("NULL, NULL", None, None),
        ("'checkout', 'checkout'", Some("checkout"), Some("checkout")),
    ] {
        let again = by_person(&rows, again);
        let mut cohorts: BTreeMap<Date, Vec<(&str, i64)>> = BTreeMap::new();
        for (person, times) in by_person(&rows, first) {
            cohorts
                .entry(day(times[0]))
                .or_default()
                .push((person, times[0]));
        }
        let mut model = Vec::new();
        for (cohort, people) in &cohorts {
            for n in 0..=(last - *cohort).get_days() {
                let came = people.iter().filter(|(person, began)| {
                    let times = again.get(person).into_iter().flatten();
                    let mut times = times.filter(|time| *time >= began);
                    times.any(|time| (day(*time) - *cohort).get_days() == n)
                });
                let (came, size) = (came.count(), people.len());
                model.push([
                    cohort.to_string(),
                    size.to_string(),
                    n.to_string(),
                    came.to_string(),
                    share(came, size),
                ]);
            }
        }
        let sql = format!(
            "SELECT cohort, size, day, people, round(share * 1000)::BIGINT FROM mf_retention({arguments})"
        );
        assert_eq!(place.sql("out.db", &sql), texts(model), "{arguments}");
    }
}

#[test]
fn mf_sessions_end_where_a_gap_is_longer() {
    let place = filled();
    let rows = rows(&place);
    for hours in [1, 12] {
        let mut model = Vec::new();
        for (person, times) in by_person(&rows, None) {
            let sessions = times.chunk_by(|before, after| after - before <= hours * HOUR);
            for (n, session) in sessions.enumerate() {
                let (first, last) = (session[0], session[session.len() - 1]);
                model.push([
                    person.to_owned(),
                    (n + 1).to_string(),
                    first.to_string(),
                    last.to_string(),
                    session.len().to_string(),
                ]);
            }
        }
        let sql = format!(
            "SELECT distinct_id, session, epoch_us(started_at), epoch_us(ended_at), n FROM mf_sessions(INTERVAL {hours} HOUR)"
        );
        assert_eq!(place.sql("out.db", &sql), texts(model));
    }
}

#[test]
fn mf_people_gives_each_event_the_profile_of_its_person() {
    let place = filled();
    let all: Vec<Profile> = in_table(&place.path("out.db"), "profiles");
    let known: BTreeMap<&str, &Profile> = all
        .iter()
        .map(|profile| (&*profile.distinct_id, profile))
        .collect();
    let mut model: Vec<Vec<String>> = texts(rows(&place).iter().map(|row| {
        let profile = known.get(&*row.distinct_id);
        let text = |text: Option<String>| text.unwrap_or_else(|| "NULL".to_owned());
        [
            row.insert_id.clone(),
            text(profile.and_then(|found| Some(found.last_seen_us?.to_string()))),
            text(profile.map(|found| found.properties.clone())),
        ]
    }));
    model.sort();
    let sql = "SELECT insert_id, epoch_us(person_last_seen), person::VARCHAR FROM mf_people('events') ORDER BY 1, 2, 3";
    let mut found = place.sql("out.db", sql);
    found.sort();
    assert_eq!(found, model);
    assert!(model.iter().any(|row| row[2] != "NULL"));
}

/// Whoever asks by `mixflow query` may read and do nothing else.
#[test]
fn macros_are_asked_by_the_command_line_also_of_another_table() {
    let place = filled();
    let asked = |sql: &str| {
        let ran = place.mixflow(&["query", sql, "--db", "out.db", "--scalar"]);
        ran.ended(0).stdout_lossy().trim().to_owned()
    };
    for table in ["mf_daily(NULL)", "mf_daily(NULL, events := 'events')"] {
        assert_eq!(
            asked(&format!("SELECT sum(n)::BIGINT FROM {table}")),
            "8000"
        );
    }
    let joined = "SELECT count(*) FROM mf_people('events', profiles := 'profiles')";
    assert_eq!(asked(joined), "8000");
    let tables = place.mixflow(&["tables", "--db", "out.db", "--format", "csv"]);
    assert!(!tables.ended(0).stdout_lossy().contains("mf_"));
}

fn change(place: &Place, sql: &str) {
    let store = Store::open(place.path("out.db")).unwrap();
    store.connection().unwrap().execute_batch(sql).unwrap();
}

fn comment(place: &Place, name: &str) -> String {
    let sql = format!("SELECT comment FROM duckdb_functions() WHERE function_name = '{name}'");
    place.sql("out.db", &sql)[0][0].clone()
}

#[test]
fn macros_are_renewed_where_they_are_ours_and_nowhere_else() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let sink = format!("{DUCKDB}mode = \"replace\"\n");
    let text = pipeline(&[&events(&sim, ""), &sink]);
    place.run(&text).0.ended(0);
    let made = comment(&place, "mf_daily");
    let other = "AS TABLE SELECT 1 AS other";
    let older = "rows of each day (mixflow 00000000)";
    change(
        &place,
        &format!(
            "CREATE OR REPLACE MACRO mf_daily(event) {other}; COMMENT ON MACRO TABLE mf_daily IS '{made}'; \
             CREATE OR REPLACE MACRO mf_sessions(gap) {other}; COMMENT ON MACRO TABLE mf_sessions IS '{older}'; \
             CREATE OR REPLACE MACRO mf_people(a) {other}; DROP MACRO TABLE mf_funnel"
        ),
    );
    let (ran, report) = place.run(&text);
    ran.ended(0);
    let warnings = report["warnings"].as_array().unwrap();
    assert_eq!(
        warnings,
        &[
            "the macro `mf_people` is somebody else's and stays; rename it to have mixflow's, or set `macros = false`"
        ]
    );
    // One with our comment is taken for the same, and nothing is written.
    let columns = |call: &str| place.sql("out.db", &format!("DESCRIBE FROM {call}"))[0][0].clone();
    assert_eq!(columns("mf_daily('x')"), "other");
    assert_eq!(columns("mf_people('x')"), "other");
    assert_eq!(columns("mf_sessions(INTERVAL 1 HOUR)"), "distinct_id");
    assert_eq!(columns("mf_funnel(['x'], INTERVAL 1 HOUR)"), "step");
}

#[test]
fn macros_outlive_a_table_that_is_replaced_and_gets_columns() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let source = events(&sim, "");
    place.run(&pipeline(&[&source, DUCKDB])).0.ended(0);
    let extract = "[[transform]]\ntype = \"extract\"\ncolumns = [{ name = \"os\", type = \"text\", path = [\"$os\"] }]\n";
    let replace = format!("{DUCKDB}mode = \"replace\"\n");
    place
        .run(&pipeline(&[&source, extract, &replace]))
        .0
        .ended(0);
    let rows = "SELECT sum(n)::BIGINT FROM mf_daily(NULL)";
    assert_eq!(place.sql("out.db", rows), [["8000"]]);
    change(
        &place,
        "ALTER TABLE events ADD COLUMN events INTEGER DEFAULT 7",
    );
    assert_eq!(place.sql("out.db", rows), [["8000"]]);
    let people =
        "SELECT count(os), sum(events)::BIGINT FROM mf_people('events', profiles := 'events_of')";
    change(
        &place,
        "CREATE VIEW events_of AS SELECT distinct_id, event_time AS last_seen, properties FROM events",
    );
    assert_eq!(place.sql("out.db", people)[0][1], "56000");
}

#[test]
fn who_wants_no_macros_gets_none() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let sink = format!("{DUCKDB}macros = false\n");
    place.run(&pipeline(&[&events(&sim, ""), &sink])).0.ended(0);
    let sql = "SELECT count(*) FROM duckdb_functions() WHERE starts_with(function_name, 'mf_')";
    assert_eq!(place.sql("out.db", sql), [["0"]]);
}
