//! `tables`, `schema`, `metadata` and `query` with the URI of a database.

use jiff::civil::date;
use mixflow_tests::sim::Data;
use serde_json::Value;

use super::server::{Warehouse, manifests};
use crate::support::{Place, Ran, events, pipeline, sim, started};

const DAYS: &str = "from = \"2024-01-01\"\nto = \"2024-01-02\"\n";

fn data() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 2), 300, 0, 3)
}

/// What `query` must refuse, in any database.
const WRITING: [&str; 9] = [
    "DELETE FROM events",
    "DROP TABLE events",
    "WITH gone AS (DELETE FROM events RETURNING 1) SELECT count(*) FROM gone",
    "/* SELECT */ INSERT INTO events SELECT * FROM events",
    "SELECT 1; DELETE FROM events",
    "EXPLAIN ANALYZE DELETE FROM events",
    "COPY events TO '/tmp/mixflow-x.csv'",
    "VACUUM INTO '/tmp/mixflow-x.db'",
    "ATTACH '/tmp/mixflow-x.db' AS x",
];

/// Returns the days of `status` as CSV, and how each stands.
fn states_of(ran: &Ran) -> Vec<String> {
    let text = ran.stdout_lossy();
    let mut lines = text.lines();
    let columns = "table_name,day,state,rows,duplicates,bytes,fetched_at,run_id,filters";
    assert_eq!(lines.next(), Some(columns), "{}", ran.stderr);
    let state = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells[0], "events");
        format!("{} {}", cells[1], cells[2])
    };
    lines.map(state).collect()
}

#[test]
fn postgres_is_asked_by_its_uri_and_not_changed() {
    let Some(warehouse) = Warehouse::start() else {
        return;
    };
    let sim = started(sim(data()));
    warehouse.write(&sim, DAYS, "create", "");
    warehouse.mixflow(&["run", "test.toml"]).ended(0);
    warehouse.sql("CREATE SCHEMA other; CREATE TABLE other.people AS SELECT 1 AS n; CREATE VIEW names AS SELECT event_name FROM events");
    let db = warehouse.uri.clone();
    let ask = |args: &[&str]| warehouse.mixflow(&[args, &["--db", &db]].concat());
    let tables = ask(&["tables", "--format", "csv"]).ended(0).stdout_lossy();
    let names: Vec<&str> = tables
        .lines()
        .filter_map(|line| line.split(',').next())
        .collect();
    assert_eq!(names, ["table_name", "events", "names", "other.people"]);
    assert!(
        tables.contains("events,events,300,2024-01-01,2024-01-02,"),
        "{tables}"
    );
    assert!(tables.contains("names,view,300,,,,"), "{tables}");
    let schema = ask(&["schema", "events", "--format", "csv"])
        .ended(0)
        .stdout_lossy();
    assert!(
        schema.contains("event_time,timestamp with time zone,true"),
        "{schema}"
    );
    let metadata = ask(&["metadata", "events", "--format", "json"]).ended(0);
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    assert_eq!(metadata[0]["row_count"], 300);
    assert_eq!(metadata[0]["status"], "committed");
    // Who may only read sees which days there are, and nothing is made for it.
    warehouse.sql("CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader; REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let relations = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let before = warehouse.sql(relations);
    let reader = db.replace("user=mixflow", "user=reader");
    let days = [
        "status",
        "--to",
        "2024-01-03",
        "--format",
        "csv",
        "--db",
        &reader,
    ];
    for table in [&["events"][..], &[]] {
        let shown = warehouse.mixflow(&[&days[..], table].concat()).ended(0);
        assert_eq!(
            states_of(&shown),
            [
                "2024-01-01 complete",
                "2024-01-02 complete",
                "2024-01-03 missing"
            ]
        );
    }
    assert_eq!(warehouse.sql(relations), before);
    warehouse
        .mixflow(&[&days[..], &["names"]].concat())
        .ended(6)
        .says("nothing is known of the days of `names`");
    warehouse
        .mixflow(&[&days[..], &["evnts"]].concat())
        .ended(6)
        .says("there is no table `evnts`");
    ask(&["schema", "other.people"]).ended(0);
    ask(&["schema", "evnts"])
        .ended(6)
        .says("there is no table `evnts`")
        .says("events");
    ask(&["metadata", "other.people"])
        .ended(6)
        .says("mixflow did not write this table");
    let count = [
        "query",
        "SELECT count(*) FROM events WHERE event_time >= $day",
        "--param",
        "day=2024-01-02",
        "--scalar",
    ];
    let count: u64 = ask(&count).ended(0).stdout_lossy().trim().parse().unwrap();
    assert!(count > 0 && count < 300);
    // A parameter is a text, whatever is in it.
    let param = [
        "query",
        "SELECT $x AS x",
        "--param",
        "x=' ; DROP TABLE events; --\\",
        "--scalar",
    ];
    assert_eq!(
        ask(&param).ended(0).stdout_lossy(),
        "' ; DROP TABLE events; --\\\n"
    );
    ask(&["query", "SELECT $x"]).ended(1).says("`$x`");
    for sql in WRITING {
        let code = ask(&["query", sql]).code;
        assert_eq!(code, Some(1), "{sql}");
    }
    let unlocked = "SELECT set_config('transaction_read_only', 'off', false)";
    ask(&["query", unlocked]).ended(1);
    assert_eq!(warehouse.sql("SELECT count(*) FROM events"), "300");
    // Types that only the database has are shown as text.
    let odd = "SELECT '{1,2}'::int[] AS a, 1.50::numeric AS n, '{\"a\": 1}'::jsonb AS j, interval '1 day' AS i, now()::date IS NOT NULL AS d";
    ask(&["query", odd]).ended(0);
    ask(&["query", "SELECT nonsense"])
        .ended(1)
        .says("column \"nonsense\" does not exist");
    // Commands for DuckDB say that they are.
    ask(&["catalog"])
        .ended(2)
        .says("this command asks DuckDB files only");
    // A password belongs into a variable.
    let telling = db.replace("&user=mixflow", "&user=mixflow&password=hunter2222");
    warehouse
        .mixflow(&["tables", "--db", &telling])
        .ended(2)
        .says("there is a password in the command");
    let mut command =
        warehouse.command(&["query", "SELECT 42", "--scalar", "--db", "env:DATABASE_URL"]);
    let ran = Ran::of(command.env("DATABASE_URL", &telling).output().unwrap()).ended(0);
    assert_eq!(ran.stdout_lossy(), "42\n");
}

#[test]
fn sqlite_is_asked_by_its_uri_and_not_changed() {
    let place = Place::new();
    let Some(drivers) = manifests(&place, "sqlite") else {
        return;
    };
    let sim = started(sim(data()));
    let sink = "[sink]\ntype = \"adbc\"\ndriver = \"sqlite\"\nuri = \"out.db\"\n";
    place.write("test.toml", &pipeline(&[&events(&sim, DAYS), sink]));
    let ask = |args: &[&str]| {
        let mut command = place.command(args);
        Ran::of(command.env("ADBC_DRIVER_PATH", &drivers).output().unwrap())
    };
    ask(&["tables", "--db", "sqlite:out.db"])
        .ended(6)
        .says("there is no such file");
    assert!(!place.path("out.db").exists());
    ask(&["run", "test.toml"]).ended(0);
    let before = std::fs::read(place.path("out.db")).unwrap();
    let tables = ask(&["tables", "--db", "sqlite:out.db", "--format", "csv"]).ended(0);
    assert!(
        tables
            .stdout_lossy()
            .contains("events,events,300,2024-01-01,2024-01-02,")
    );
    let schema = ask(&[
        "schema",
        "events",
        "--db",
        "sqlite:out.db",
        "--format",
        "csv",
    ])
    .ended(0);
    assert!(schema.stdout_lossy().contains("properties,JSON_TEXT,true"));
    let days = [
        "status",
        "events",
        "--db",
        "sqlite:out.db",
        "--to",
        "2024-01-02",
        "--format",
        "csv",
    ];
    let shown = ask(&days).ended(0);
    assert_eq!(
        states_of(&shown),
        ["2024-01-01 complete", "2024-01-02 complete"]
    );
    let os = "SELECT count(DISTINCT properties->>'$.$os') > 1 FROM events";
    let ran = ask(&["query", os, "--db", "sqlite:out.db", "--scalar"]).ended(0);
    assert_eq!(ran.stdout_lossy(), "1\n");
    for sql in WRITING {
        // SQLite only explains what it is asked to.
        if !sql.starts_with("EXPLAIN") {
            let code = ask(&["query", sql, "--db", "sqlite:out.db"]).code;
            assert_eq!(code, Some(1), "{sql}");
        }
    }
    assert_eq!(std::fs::read(place.path("out.db")).unwrap(), before);
    assert_eq!(place.names(), ["drivers", "out.db"]);
}
