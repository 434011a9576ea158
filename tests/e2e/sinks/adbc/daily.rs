//! The life of a table in PostgreSQL: day by day, with gaps, from two machines.

use jiff::civil::date;
use mixflow_tests::sim::{Data, ExportQuery, Fault, Simulator};
use serde_json::Value;

use super::server::{Warehouse, manifests};
use crate::rows::form::{assert_same, expected_events, sorted};
use crate::support::{Place, Ran, SECRET, events, pipeline, sim, started};

fn january() -> Simulator {
    started(sim(Data::generated_between(
        date(2024, 1, 1),
        date(2024, 1, 31),
        3_100,
        50,
        3,
    )))
}

const LAST: &str = "from = \"last\"\nto = \"yesterday\"\nstart = \"2024-01-08\"\nwindow_days = 1\n";

const KEEP: &str = "[run]\nworkers = 2\non_failure = \"keep\"\n";

fn states(warehouse: &Warehouse, now: &str) -> String {
    let ran = warehouse.at(now, &["status", "test.toml", "--format", "json"]);
    let days: Vec<Value> = serde_json::from_slice(&ran.stdout).expect(&ran.stderr);
    let state = |day: &Value| {
        let (day, state) = (day["day"].as_str().unwrap(), day["state"].as_str().unwrap());
        format!("{} {state}", &day[8..])
    };
    days.iter().map(state).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_daily_job_catches_up_fills_gaps_and_goes_on_from_another_machine() {
    let Some(warehouse) = Warehouse::start() else {
        return;
    };
    let sim = january();
    warehouse.write(&sim, LAST, "replace_window", KEEP);
    sim.add_fault(Fault::parse("export from=2024-01-09 always status=500").unwrap());
    let run = ["run", "test.toml", "--report", "report.json"];
    warehouse.at("2024-01-11T03:00:00Z", &run).ended(3);
    assert_eq!(
        states(&warehouse, "2024-01-11T03:00:00Z"),
        "08 complete, 09 missing, 10 complete"
    );
    let gaps = ["gaps", "test.toml", "--format", "csv"];
    let said = warehouse.at("2024-01-11T03:00:00Z", &gaps).ended(3);
    assert_eq!(
        said.stdout_lossy(),
        "first,last,days\n2024-01-09,2024-01-09,1\n"
    );
    assert!(
        warehouse
            .sql("SELECT status, missing FROM _mixflow_runs")
            .contains("partial|[{\"partition\":\"2024-01-09\"")
    );
    sim.clear_faults();
    let failed = [
        "run",
        "test.toml",
        "--only-failed",
        "--report",
        "report.json",
    ];
    warehouse.at("2024-01-11T03:00:00Z", &failed).ended(0);
    warehouse.at("2024-01-11T03:00:00Z", &gaps).ended(0);
    // Another machine: nothing of it but the pipeline and the database.
    std::fs::remove_dir_all(warehouse.place.path("state")).unwrap();
    sim.clear_log();
    warehouse.at("2024-01-12T03:00:00Z", &run).ended(0);
    assert_eq!(sim.requests().len(), 1, "one day was new");
    sim.clear_log();
    warehouse.at("2024-01-12T03:00:00Z", &run).ended(0);
    assert_eq!(sim.requests().len(), 0, "nothing was new");
    let backfill = [
        "backfill",
        "test.toml",
        "--from",
        "2024-01-01",
        "--commit-every",
        "3",
        "--report",
        "report.json",
    ];
    warehouse.at("2024-01-12T03:00:00Z", &backfill).ended(0);
    assert_eq!(warehouse.report().as_array().unwrap().len(), 3);
    let all = expected_events(&sim, &ExportQuery::new(date(2024, 1, 1), date(2024, 1, 11)));
    assert_same(&warehouse.rows().unwrap(), &sorted(all));
    warehouse.ledger_agrees();
    // The same days again are the same rows.
    let again = [
        "run",
        "test.toml",
        "--from",
        "2024-01-03",
        "--to",
        "2024-01-05",
    ];
    warehouse.at("2024-01-12T03:00:00Z", &again).ended(0);
    assert_eq!(
        warehouse.sql("SELECT count(*) = count(DISTINCT insert_id) FROM events"),
        "t"
    );
    assert_eq!(
        warehouse.sql("SELECT row_count = (SELECT count(*) FROM events) FROM _mixflow_runs ORDER BY number DESC LIMIT 1"),
        "t"
    );
}

#[test]
fn the_example_runs_and_a_plan_changes_nothing() {
    let Some(mut warehouse) = Warehouse::start() else {
        return;
    };
    let sim = january();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipelines/postgres.toml");
    let base = format!("source.base_url={}", sim.base_url());
    let asked = |warehouse: &Warehouse, command: &str| {
        let mut command = warehouse.command(&[command, file, "--set", &base]);
        command
            .args(["--set", "source.limits.per_second=1000"])
            .args(["--set", "source.start=2024-01-25"])
            .env("MIXFLOW_NOW", "2024-02-01T03:00:00Z")
            .env("MIXPANEL_USERNAME", "sim")
            .env("MIXPANEL_SECRET", SECRET)
            .env("MIXPANEL_PROJECT_ID", "12345");
        Ran::of(command.output().unwrap())
    };
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    let said = asked(&warehouse, "plan").ended(0).stdout_lossy();
    assert!(
        said.contains("creates the table `mixpanel.events` in `postgresql:///postgres?host="),
        "{said}"
    );
    assert_eq!(warehouse.sql(tables), "0");
    asked(&warehouse, "run").ended(0);
    let expected = expected_events(
        &sim,
        &ExportQuery::new(date(2024, 1, 25), date(2024, 1, 31)),
    );
    assert_eq!(
        warehouse
            .sql("SELECT count(*), count(DISTINCT properties->>'$os') > 1 FROM mixpanel.events"),
        format!("{}|t", expected.len())
    );
    let said = asked(&warehouse, "plan").ended(0).stdout_lossy();
    assert!(
        said.contains("replaces the fetched days of the table"),
        "{said}"
    );
    // A password that is wrong is not told, and neither is one that is right.
    let host = warehouse.server.folder().display();
    warehouse.uri = format!("postgresql://nobody:{SECRET}@/postgres?host={host}");
    asked(&warehouse, "run").ended(4).says("nobody");
    warehouse.uri = "postgresql://ann@127.0.0.1:9/x".to_owned();
    asked(&warehouse, "run")
        .ended(6)
        .says("postgresql://127.0.0.1:9/x");
}

#[test]
fn columns_of_properties_are_made_as_they_occur() {
    let Some(warehouse) = Warehouse::start() else {
        return;
    };
    let sim = january();
    let auto = "[[transform]]\ntype = \"extract\"\ncolumns = \"auto\"\nmin_fill = 0.1\n";
    let sink = Warehouse::sink("replace_window");
    let sink = sink.split("ddl").next().unwrap();
    let text = |days: &str, more: &str| pipeline(&[&events(&sim, days), more, auto, sink]);
    let day = "from = \"2024-01-01\"\nto = \"2024-01-02\"\n";
    warehouse.place.write("test.toml", &text(day, ""));
    warehouse.mixflow(&["run", "test.toml"]).ended(0);
    let columns = "SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY column_name) FROM information_schema.columns WHERE table_name = 'events'";
    let before = warehouse.sql(columns);
    assert!(before.split(", ").count() > 8, "{before}");
    assert_eq!(
        warehouse.sql(
            "SELECT count(*) FROM events WHERE browser IS DISTINCT FROM properties->>'$browser'"
        ),
        "0"
    );
    // A property that was not there becomes a column that was not there.
    let more = "[[transform]]\ntype = \"extract\"\ncolumns = [{ name = \"zz_new\", path = \"$browser\", type = \"text\" }]\n";
    warehouse.place.write(
        "test.toml",
        &text("from = \"2024-01-03\"\nto = \"2024-01-03\"\n", more),
    );
    warehouse.mixflow(&["run", "test.toml"]).ended(0);
    assert!(warehouse.sql(columns).contains("zz_new text"));
    assert_eq!(
        warehouse.sql("SELECT count(DISTINCT event_time::date) FROM events"),
        "3"
    );
    warehouse.ledger_agrees();
}

#[test]
fn sqlite_is_a_file_like_any_other() {
    let place = Place::new();
    let Some(drivers) = manifests(&place, "sqlite") else {
        return;
    };
    let sim = january();
    let sink = "[sink]\ntype = \"adbc\"\ndriver = \"sqlite\"\nuri = \"out.db\"\nmode = \"replace_window\"\n";
    place.write("test.toml", &pipeline(&[&events(&sim, LAST), sink, KEEP]));
    let at = |now: &str, args: &[&str]| {
        let mut command = place.command(args);
        command
            .env("ADBC_DRIVER_PATH", &drivers)
            .env("MIXFLOW_NOW", now);
        Ran::of(command.output().unwrap())
    };
    at("2024-01-11T03:00:00Z", &["plan", "test.toml"]).ended(0);
    assert!(!place.path("out.db").exists());
    for now in ["2024-01-11T03:00:00Z", "2024-01-12T03:00:00Z"] {
        at(now, &["run", "test.toml"]).ended(0);
        at(now, &["gaps", "test.toml"]).ended(0);
    }
    let backfill = ["backfill", "test.toml", "--from", "2024-01-01"];
    at("2024-01-12T03:00:00Z", &backfill).ended(0);
    let database = rusqlite::Connection::open(place.path("out.db")).unwrap();
    let count = |sql: &str| {
        database
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let all = expected_events(&sim, &ExportQuery::new(date(2024, 1, 1), date(2024, 1, 11)));
    assert_eq!(count("SELECT count(*) FROM events"), all.len() as i64);
    assert_eq!(
        count("SELECT count(DISTINCT insert_id) FROM events"),
        all.len() as i64
    );
    assert_eq!(
        count("SELECT sum(\"rows\") FROM _mixflow_days"),
        all.len() as i64
    );
    assert!(count("SELECT count(DISTINCT properties->>'$.$os') FROM events") > 1);
}

#[test]
fn rows_that_the_database_cannot_hold_are_put_aside_where_that_is_wanted() {
    let Some(warehouse) = Warehouse::start() else {
        return;
    };
    let record = |id: u32, more: &str| {
        let time = 1_704_067_200 + id;
        format!(
            r#"{{"event":"x","properties":{{"time":{time},"distinct_id":"a","$insert_id":"{id}","p":{more}}}}}"#
        )
    };
    let odd = r#""a\u0000b""#;
    let lines = [
        record(1, "1"),
        record(2, odd),
        record(3, "3"),
        record(4, odd),
    ];
    let sim = started(sim(Data::from_lines(lines, []).unwrap()));
    let run = ["run", "test.toml", "--report", "report.json"];
    let written = |most: u32| {
        let days = format!("from = \"2024-01-01\"\nto = \"2024-01-01\"\nmax_rejects = {most}\n");
        let sink = format!("{}on_mismatch = \"reject\"\n", Warehouse::sink("replace"));
        warehouse
            .place
            .write("test.toml", &pipeline(&[&events(&sim, &days), &sink]));
        warehouse.at("2024-01-03T03:00:00Z", &run)
    };
    written(1).ended(1).says("max_rejects");
    assert_eq!(warehouse.rows(), None);
    written(2).ended(0).says("2 records could not be read");
    assert_eq!(
        warehouse.sql("SELECT string_agg(insert_id, ',' ORDER BY insert_id) FROM events"),
        "1,3"
    );
    let report = warehouse.report();
    let file = report["reject_file"].as_str().unwrap();
    let kept = std::fs::read_to_string(file).unwrap();
    let kept: Vec<Value> = kept
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(kept.len(), 2);
    assert!(
        kept[0]
            .to_string()
            .contains("the database cannot hold its `properties`"),
        "{kept:?}"
    );
    assert_eq!(
        (&report["rejected"], &report["row_count"]),
        (&2.into(), &2.into())
    );
    warehouse.ledger_agrees();
    assert_eq!(
        warehouse.sql("SELECT rejected, \"rows\" FROM _mixflow_units"),
        "2|2"
    );
}

/// Two pipelines of other events into one table: each replaces its own.
fn check_shared(run: &dyn Fn(&str) -> Ran, count: &dyn Fn(&str) -> String, sim: &Simulator) {
    let days = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 2));
    let all = expected_events(sim, &days);
    let of = |name: &str| all.iter().filter(|event| event.event_name == name).count();
    let (views, logins) = (of("page view"), of("sign up"));
    assert!(views > 0 && logins > 0);
    let there = |n: usize| assert_eq!(count("SELECT count(*) FROM events"), n.to_string());
    run("events = [\"page view\"]|").ended(0);
    there(views);
    run("events = [\"sign up\"]|")
        .ended(6)
        .says("set `scope = \"filter\"`");
    run("events = [\"sign up\"]|scope = \"filter\"").ended(0);
    there(views + logins);
    // Whose the rows were is known, and each is replaced by its own.
    for events in ["page view", "sign up", "page view"] {
        run(&format!("events = [\"{events}\"]|scope = \"filter\"")).ended(0);
        there(views + logins);
    }
    assert_eq!(
        count("SELECT count(DISTINCT _mixflow_dataset) FROM events"),
        "2"
    );
    run("events = [\"page view\"]|")
        .ended(6)
        .says("it has rows of several datasets");
    assert_eq!(
        count("SELECT count(DISTINCT insert_id) FROM events"),
        (views + logins).to_string()
    );
}

#[test]
fn several_filters_share_a_table_of_postgres() {
    let Some(warehouse) = Warehouse::start() else {
        return;
    };
    let sim = january();
    let run = |what: &str| {
        let (events_wanted, scope) = what.split_once('|').unwrap();
        let days = format!("from = \"2024-01-01\"\nto = \"2024-01-02\"\n{events_wanted}\n");
        let sink = Warehouse::sink("replace_window") + scope + "\n";
        warehouse
            .place
            .write("test.toml", &pipeline(&[&events(&sim, &days), &sink]));
        warehouse.mixflow(&["run", "test.toml"])
    };
    check_shared(&run, &|sql| warehouse.sql(sql), &sim);
    assert_eq!(
        warehouse.sql("SELECT count(*) FROM pg_attrdef WHERE adrelid = 'events'::regclass"),
        "0",
        "the rows of others are nobody's"
    );
}

#[test]
fn several_filters_share_a_table_of_sqlite() {
    let place = Place::new();
    let Some(drivers) = manifests(&place, "sqlite") else {
        return;
    };
    let sim = january();
    let mixflow = |args: &[&str]| {
        let mut command = place.command(args);
        Ran::of(command.env("ADBC_DRIVER_PATH", &drivers).output().unwrap())
    };
    let run = |what: &str| {
        let (events_wanted, scope) = what.split_once('|').unwrap();
        let days = format!("from = \"2024-01-01\"\nto = \"2024-01-02\"\n{events_wanted}\n");
        let sink = format!(
            "[sink]\ntype = \"adbc\"\ndriver = \"sqlite\"\nuri = \"out.db\"\nmode = \"replace_window\"\n{scope}\n"
        );
        place.write("test.toml", &pipeline(&[&events(&sim, &days), &sink]));
        mixflow(&["run", "test.toml"])
    };
    let count = |sql: &str| {
        let ran = mixflow(&["query", sql, "--db", "sqlite:out.db", "--scalar"]).ended(0);
        ran.stdout_lossy().trim().to_owned()
    };
    check_shared(&run, &count, &sim);
}
