//! Tables as they come to a terminal: they fit it, and say what they leave out.

use insta::assert_snapshot;

use super::query::{ask, filled, told};
use crate::support::{DUCKDB, Place, on_a_terminal, pipeline};

/// Returns what comes to a terminal; `None` where none can be made.
#[track_caller]
fn shown(place: &Place, args: &[&str], columns: u16) -> Option<String> {
    let args = [args, &["--db", "out.db"]].concat();
    on(place, &args, columns)
}

#[track_caller]
fn on(place: &Place, args: &[&str], columns: u16) -> Option<String> {
    let shown = on_a_terminal(&place.command(args), columns)?.replace('\r', "");
    for line in shown.lines() {
        // Every character of these tests is one column wide.
        let width = line.chars().count();
        assert!(width <= columns.into(), "{width} columns: {line}");
    }
    Some(shown)
}

/// Three rows of which no terminal has room for all.
const WIDE: &str = r#"SELECT 'Sign Up' AS event_name, '2024-01-01 10:00:00'::TIMESTAMP AS event_time,
    'user-1' AS distinct_id, repeat('0123456789abcdef', 2) AS insert_id,
    '{"$browser":"Firefox","$city":"Wien","plan":"pro","items":[1,2,3],"and":"more"}'::JSON AS properties,
    12345678 AS n FROM range(3)"#;

#[test]
fn a_table_fits_terminals_of_80_100_and_160_columns() {
    let place = filled();
    let Some(narrow) = shown(&place, &["query", WIDE], 80) else {
        return;
    };
    assert_snapshot!(narrow, @r#"
    ┌────────────┬─────────────────────┬─────────────┬──────────────┬──────────────┐
    │ event_name │ event_time          │ distinct_id │ insert_id    │ properties   │
    ├────────────┼─────────────────────┼─────────────┼──────────────┼──────────────┤
    │ Sign Up    │ 2024-01-01 10:00:00 │ user-1      │ 0123456789a… │ {"$browser"… │
    │ Sign Up    │ 2024-01-01 10:00:00 │ user-1      │ 0123456789a… │ {"$browser"… │
    │ Sign Up    │ 2024-01-01 10:00:00 │ user-1      │ 0123456789a… │ {"$browser"… │
    └────────────┴─────────────────────┴─────────────┴──────────────┴──────────────┘
    3 rows
    no room for n
    all of it: add `| less -S`, `--format jsonl` or `--output rows.csv`
    "#);
    assert_snapshot!(shown(&place, &["query", WIDE], 100).unwrap(), @r#"
    ┌────────────┬─────────────────────┬─────────────┬───────────────────┬──────────────────┬──────────┐
    │ event_name │ event_time          │ distinct_id │ insert_id         │ properties       │        n │
    ├────────────┼─────────────────────┼─────────────┼───────────────────┼──────────────────┼──────────┤
    │ Sign Up    │ 2024-01-01 10:00:00 │ user-1      │ 0123456789abcdef… │ {"$browser":"Fi… │ 12345678 │
    │ Sign Up    │ 2024-01-01 10:00:00 │ user-1      │ 0123456789abcdef… │ {"$browser":"Fi… │ 12345678 │
    │ Sign Up    │ 2024-01-01 10:00:00 │ user-1      │ 0123456789abcdef… │ {"$browser":"Fi… │ 12345678 │
    └────────────┴─────────────────────┴─────────────┴───────────────────┴──────────────────┴──────────┘
    3 rows
    "#);
    assert_snapshot!(shown(&place, &["query", WIDE], 160).unwrap(), @r#"
    ┌────────────┬─────────────────────┬─────────────┬──────────────────────────────────┬───────────────────────────────────────────────────────────────┬──────────┐
    │ event_name │ event_time          │ distinct_id │ insert_id                        │ properties                                                    │        n │
    ├────────────┼─────────────────────┼─────────────┼──────────────────────────────────┼───────────────────────────────────────────────────────────────┼──────────┤
    │ Sign Up    │ 2024-01-01 10:00:00 │ user-1      │ 0123456789abcdef0123456789abcdef │ {"$browser":"Firefox","$city":"Wien","plan":"pro","items":[1… │ 12345678 │
    │ Sign Up    │ 2024-01-01 10:00:00 │ user-1      │ 0123456789abcdef0123456789abcdef │ {"$browser":"Firefox","$city":"Wien","plan":"pro","items":[1… │ 12345678 │
    │ Sign Up    │ 2024-01-01 10:00:00 │ user-1      │ 0123456789abcdef0123456789abcdef │ {"$browser":"Firefox","$city":"Wien","plan":"pro","items":[1… │ 12345678 │
    └────────────┴─────────────────────┴─────────────┴──────────────────────────────────┴───────────────────────────────────────────────────────────────┴──────────┘
    3 rows
    "#);
    // Where no terminal is, nothing is shortened.
    let whole = told(&place, &["query", WIDE]);
    assert!(whole.contains("\"and\":\"more\"}"), "{whole}");
}

#[test]
fn columns_for_which_there_is_no_room_are_named() {
    let place = filled();
    let sql = "SELECT 1111111111 AS a, 2222222222 AS b, 3333333333 AS c, 4444444444 AS d, 5555555555 AS e, 6666666666 AS f, 7777777777 AS g";
    let Some(shown) = shown(&place, &["query", sql], 70) else {
        return;
    };
    assert_snapshot!(shown, @r"
    ┌────────────┬────────────┬────────────┬────────────┬────────────┐
    │          a │          b │          c │          d │          e │
    ├────────────┼────────────┼────────────┼────────────┼────────────┤
    │ 1111111111 │ 2222222222 │ 3333333333 │ 4444444444 │ 5555555555 │
    └────────────┴────────────┴────────────┴────────────┴────────────┘
    1 row
    no room for f, g
    all of it: add `| less -S`, `--format jsonl` or `--output rows.csv`
    ");
}

#[test]
fn a_long_answer_is_shown_by_its_ends_on_a_terminal_and_whole_elsewhere() {
    let place = filled();
    let rows = |n: u32| format!("SELECT n FROM range({n}) t(n)");
    let Some(all) = shown(&place, &["query", &rows(40)], 80) else {
        return;
    };
    assert_eq!(all.lines().count(), 3 + 40 + 2, "{all}");
    assert!(all.ends_with("40 rows\n"), "{all}");
    for n in [41, 50, 5_000] {
        let ends = shown(&place, &["query", &rows(n)], 80).unwrap();
        let cells = ends.lines().filter_map(|line| line.strip_prefix("│ "));
        let cells: Vec<&str> = cells
            .map(|cell| cell.trim_end_matches('│').trim())
            .collect();
        let mut expected = vec!["n".to_owned()];
        expected.extend((0..20).map(|n| n.to_string()));
        expected.extend(vec!["·".to_owned(); 3]);
        expected.extend((n - 20..n).map(|n| n.to_string()));
        assert_eq!(cells, expected);
        let count = if n == 5_000 {
            "5,000".to_owned()
        } else {
            n.to_string()
        };
        let footer = format!(
            "{count} rows, of which the first and the last 20 are shown\n\
             all of it: add `| less -S`, `--format jsonl` or `--output rows.csv`\n"
        );
        assert!(ends.ends_with(&footer), "{ends}");
    }
    let whole = told(&place, &["query", &rows(5_000)]);
    assert_eq!(whole.lines().count(), 3 + 5_000 + 2);
}

#[test]
fn runs_show_their_days_and_an_id_that_can_be_pasted() {
    let place = filled();
    place.mixflow(&["run", "test.toml"]).ended(6);
    let ids = place
        .mixflow(&["runs", "--format", "csv"])
        .ended(0)
        .stdout_lossy();
    let ids: Vec<&str> = ids
        .lines()
        .skip(1)
        .filter_map(|line| line.split(',').next())
        .collect();
    assert_eq!(ids.len(), 2);
    for (columns, names, days) in [
        (80, "run_id pipeline status rows days", "2024-01-01..02"),
        (
            100,
            "run_id pipeline status rows from to seconds",
            "2024-01-01 │ 2024-01-02",
        ),
        (
            160,
            "run_id pipeline status rows from to seconds error destination",
            "2024-01-01 │ 2024-01-02",
        ),
    ] {
        let Some(shown) = on(&place, &["runs"], columns) else {
            return;
        };
        let header = shown.lines().nth(1).unwrap().replace('│', " ");
        assert_eq!(
            header.split_whitespace().collect::<Vec<_>>().join(" "),
            names,
            "{shown}"
        );
        for id in &ids {
            assert!(shown.contains(&format!("│ {id} │")), "{shown}");
        }
        assert!(shown.contains(days), "{shown}");
    }
    let elsewhere = place.mixflow(&["runs"]).ended(0).stdout_lossy();
    assert!(
        elsewhere.contains("│ 2024-01-01 │ 2024-01-02 │"),
        "{elsewhere}"
    );
    assert!(elsewhere.contains("already exists"), "{elsewhere}");
}

#[test]
fn summarize_tells_of_days_events_people_and_properties() {
    let place = filled();
    assert_snapshot!(told(&place, &["summarize", "events"]), @r#"
    events: 300 rows of 262 people
    2024-01-01 to 2024-01-02: 2 days

    ┌───────────────┬──────┬─────────┬────────┬────────────┬────────────┐
    │ event_name    │ rows │ percent │ people │ first_day  │ last_day   │
    ├───────────────┼──────┼─────────┼────────┼────────────┼────────────┤
    │ Page View     │  149 │    49.7 │    138 │ 2024-01-01 │ 2024-01-02 │
    │ Button Click  │   60 │    20.0 │     59 │ 2024-01-01 │ 2024-01-02 │
    │ Search        │   37 │    12.3 │     37 │ 2024-01-01 │ 2024-01-02 │
    │ Video Play    │   27 │     9.0 │     27 │ 2024-01-01 │ 2024-01-02 │
    │ Add To Cart   │   13 │     4.3 │     12 │ 2024-01-01 │ 2024-01-02 │
    │ Purchase      │    7 │     2.3 │      7 │ 2024-01-01 │ 2024-01-02 │
    │ Sign Up       │    6 │     2.0 │      6 │ 2024-01-01 │ 2024-01-02 │
    │ Café 😀 Visit │    1 │     0.3 │      1 │ 2024-01-02 │ 2024-01-02 │
    └───────────────┴──────┴─────────┴────────┴────────────┴────────────┘

    10 of 34 properties, your own first; `mixflow catalog events` has all
    ┌───────────────┬───────┬───────┬──────────┬──────────────────────────────────────────┬────────────┐
    │ property      │ types │  fill │ distinct │ example                                  │ first_day  │
    ├───────────────┼───────┼───────┼──────────┼──────────────────────────────────────────┼────────────┤
    │ plan          │ text  │   1.0 │        4 │ enterprise                               │ 2024-01-01 │
    │ is_returning  │ bool  │  0.72 │        2 │ true                                     │ 2024-01-01 │
    │ scroll_depth  │ int   │  0.72 │       89 │ 8                                        │ 2024-01-01 │
    │ query         │ text  │ 0.123 │        4 │ schuhe                                   │ 2024-01-01 │
    │ results       │ int   │ 0.123 │       34 │ 5                                        │ 2024-01-01 │
    │ autoplay      │ bool  │  0.09 │        2 │ true                                     │ 2024-01-01 │
    │ player        │ json  │  0.09 │        1 │ {"quality":{"height":1080,"fps":59.94},… │ 2024-01-01 │
    │ watch_seconds │ int   │  0.09 │       27 │ 251                                      │ 2024-01-01 │
    │ amount        │ float │ 0.067 │       20 │ 19.82                                    │ 2024-01-01 │
    │ currency      │ text  │ 0.067 │        3 │ EUR                                      │ 2024-01-01 │
    └───────────────┴───────┴───────┴──────────┴──────────────────────────────────────────┴────────────┘
    "#);
    for columns in [80, 100, 160] {
        let args = ["summarize", "events"];
        let Some(shown) = shown(&place, &args, columns) else {
            return;
        };
        assert!(shown.contains("│ Page View "), "{shown}");
    }
    ask(
        &place,
        &[
            "summarize",
            "events",
            "--format",
            "table",
            "--output",
            "a.txt",
        ],
    )
    .ended(0);
    assert_eq!(place.read("a.txt"), told(&place, &["summarize", "events"]));
}

#[test]
fn summarize_shows_what_a_table_has_beside_the_usual_columns() {
    let place = Place::new();
    let store = mixflow::Store::open(place.path("out.db")).unwrap();
    let sql = r#"CREATE TABLE events AS FROM (VALUES
        ('Buy', '2024-01-01 10:00:00'::TIMESTAMP, 'a', '{}'::JSON, 'pro', 1.5),
        ('Buy', '2024-01-01 11:00:00', 'b', '{}', NULL, 2.5),
        ('Look', '2024-01-04 11:00:00', '', '{"x":1}', 'free', NULL))
        t(event_name, event_time, distinct_id, properties, plan, amount);
        CREATE TABLE profiles AS SELECT 'a' AS distinct_id, '2024-01-01'::TIMESTAMP AS last_seen, '{}'::JSON AS properties;
        CREATE TABLE other AS SELECT 1 AS n"#;
    store.connection().unwrap().execute_batch(sql).unwrap();
    store.close().unwrap();
    assert_snapshot!(told(&place, &["summarize", "events"]), @r"
    events: 3 rows of 2 people
    2024-01-01 to 2024-01-04: 4 days, 2 of them without rows
    busiest 2024-01-01 with 2 rows, quietest 2024-01-04 with 1

    ┌────────────┬──────┬─────────┬────────┬────────────┬────────────┐
    │ event_name │ rows │ percent │ people │ first_day  │ last_day   │
    ├────────────┼──────┼─────────┼────────┼────────────┼────────────┤
    │ Buy        │    2 │    66.7 │      2 │ 2024-01-01 │ 2024-01-01 │
    │ Look       │    1 │    33.3 │      0 │ 2024-01-04 │ 2024-01-04 │
    └────────────┴──────┴─────────┴────────┴────────────┴────────────┘

    ┌────────┬──────────────┬───────┬────────────────┬──────┬─────┐
    │ column │ type         │  fill │ about_distinct │ min  │ max │
    ├────────┼──────────────┼───────┼────────────────┼──────┼─────┤
    │ plan   │ VARCHAR      │ 0.667 │              2 │ free │ pro │
    │ amount │ DECIMAL(2,1) │ 0.667 │              2 │ 1.5  │ 2.5 │
    └────────┴──────────────┴───────┴────────────────┴──────┴─────┘

    ┌──────────┬───────┬───────┬──────────┬─────────┬────────────┐
    │ property │ types │  fill │ distinct │ example │ first_day  │
    ├──────────┼───────┼───────┼──────────┼─────────┼────────────┤
    │ x        │ int   │ 0.333 │        1 │ 1       │ 2024-01-04 │
    └──────────┴───────┴───────┴──────────┴─────────┴────────────┘
    ");
    assert_snapshot!(told(&place, &["summarize", "profiles"]), @r"
    profiles: 1 row of 1 person
    2024-01-01 to 2024-01-01: 1 day
    ");
    for args in [
        &["summarize", "other"][..],
        &["summarize", "events", "--columns"],
    ] {
        let columns = told(&place, args);
        assert!(columns.contains("│ column_name "), "{columns}");
    }
}

#[test]
fn days_of_a_ledger_fit_a_terminal() {
    let place = Place::new();
    let source = "[source]\ntype = \"synthetic_events\"\nrows = 300\nfrom = \"2024-01-01\"\nto = \"2024-01-02\"\n";
    place.run(&pipeline(&[source, DUCKDB])).0.ended(0);
    for columns in [80, 100, 160] {
        for args in [
            &["status", "test.toml", "--format", "table"][..],
            &["gaps", "test.toml", "--format", "table"],
            &["tables", "--db", "out.db"],
            &["schema", "events", "--db", "out.db"],
            &["metadata", "events", "--db", "out.db"],
        ] {
            let Some(shown) = on(&place, args, columns) else {
                return;
            };
            assert!(shown.contains('┌'), "{args:?}: {shown}");
        }
    }
}
