//! `mixflow sql`: real keys on a terminal.

use std::cell::Cell;
use std::time::{Duration, Instant};

use insta::assert_snapshot;

use super::query::{ask, filled, told};
use crate::pty::Terminal;
use crate::support::{DUCKDB, Place, pipeline};

const PROMPT: &str = "mixflow>";

/// The shell on a terminal.
///
/// Keys that come between two lines are lost, so each prompt is waited for.
struct Shell {
    terminal: Terminal,
    prompts: Cell<usize>,
}

impl Shell {
    fn of(place: &Place) -> Shell {
        let shell = Shell {
            terminal: Terminal::of(&place.command(&["sql", "--db", "out.db"]), 80),
            prompts: Cell::new(0),
        };
        shell.prompt();
        shell
    }

    /// Waits for the next prompt, and returns what stands on the screen.
    #[track_caller]
    fn prompt(&self) -> String {
        let n = self.prompts.get() + 1;
        self.prompts.set(n);
        let is_there = |shown: &str| shown.matches(PROMPT).count() >= n && shown.ends_with(PROMPT);
        self.terminal.until(is_there);
        self.terminal.shown()
    }

    #[track_caller]
    fn enter(&self, text: &str) -> String {
        self.terminal.press(text);
        self.terminal.press("\r");
        self.prompt()
    }

    #[track_caller]
    fn leave(self) {
        self.terminal.press("\x04");
        let (code, shown) = self.terminal.end();
        assert_eq!(code, Some(0), "{shown}");
    }
}

/// DuckDB is asked for the names to complete meanwhile, which must not go on while the
/// process ends.
#[test]
fn the_shell_can_be_left_at_once() {
    let place = Place::new();
    let many = "[source]\ntype = \"synthetic_events\"\nrows = 150000\nfrom = \"2024-01-01\"\nto = \"2024-01-03\"\n";
    place.run(&pipeline(&[many, DUCKDB])).0.ended(0);
    for _ in 0..10 {
        Shell::of(&place).leave();
    }
}

#[test]
fn a_query_over_several_lines_is_asked_at_its_end() {
    let place = filled();
    let shell = Shell::of(&place);
    let shown = shell.enter("SELECT count(*) AS n, ';'\rFROM events\r;");
    assert!(shown.contains("│   n │ ';' │"), "{shown}");
    assert!(shown.contains("│ 300 │ ;   │"), "{shown}");
    let shown = shell.enter("SELECT nope FROM events;");
    assert!(
        shown.contains("Referenced column \"nope\" not found"),
        "{shown}"
    );
    shell.leave();
}

#[test]
fn tab_completes_tables_columns_properties_and_orders() {
    let place = filled();
    let shell = Shell::of(&place);
    for (typed, completed) in [
        ("FROM eve", "FROM event"),
        ("SELECT inse", "SELECT insert_id"),
        ("SELECT properties->>'scr", "properties->>'scroll_depth"),
        ("SELECT properties->>'$ci", "properties->>'/$city"),
        (".prop", ".properties"),
    ] {
        shell.terminal.press(typed);
        shell.terminal.until_shows(typed);
        let asked = Instant::now();
        // Names are looked for while a person types.
        while !shell.terminal.shown().contains(completed) {
            shell.terminal.press("\t");
            std::thread::sleep(Duration::from_millis(100));
            assert!(
                asked.elapsed() < Duration::from_secs(60),
                "{}",
                shell.terminal.shown()
            );
        }
        shell.terminal.press("\x03");
        shell.prompt();
    }
    shell.leave();
}

#[test]
fn orders_show_what_there_is() {
    let place = filled();
    let shell = Shell::of(&place);
    for (typed, shows) in [
        (".tables", "│ events │  300 │"),
        (".schema events", "│ properties  │ JSON        │"),
        (".properties", "│ plan "),
        (".tabels", "there is no `.tabels`, did you mean `.tables`?"),
        (".help", "leaves, as Ctrl-D does"),
    ] {
        let shown = shell.enter(typed);
        assert!(shown.contains(shows), "{typed}: {shown}");
    }
    shell.enter(".format jsonl");
    assert!(shell.enter("SELECT 1 AS a;").contains("{\"a\":1}"));
    shell.enter(".output a.csv");
    assert!(shell.enter("SELECT 2 AS b;").contains("wrote a.csv"));
    assert_eq!(place.read("a.csv"), "b\n2\n");
    shell.terminal.press("exit\r");
    assert_eq!(shell.terminal.end().0, Some(0));
}

#[test]
fn ctrl_c_ends_the_query_and_not_the_shell() {
    let place = filled();
    let shell = Shell::of(&place);
    for n in 1..=3 {
        // What is typed is dropped.
        shell.terminal.press("SELECT 'never asked'");
        shell
            .terminal
            .until(|shown| shown.matches("never asked").count() == n);
        shell.terminal.press("\x03");
        shell.prompt();
        shell
            .terminal
            .press("SELECT count(*) FROM range(100000000000) a, range(100000) b;\r");
        shell.terminal.until(|shown| shown.ends_with("b;"));
        // It is asked a moment after the key, when Ctrl-C is no key any more.
        std::thread::sleep(Duration::from_millis(1_500));
        shell.terminal.press("\x03");
        let shown = shell.prompt();
        assert_eq!(shown.matches("interrupted").count(), n, "{shown}");
    }
    assert!(
        shell
            .enter("SELECT 6 * 7 AS answer;")
            .contains("│     42 │")
    );
    shell.leave();
}

#[test]
fn queries_of_another_time_are_there_again() {
    let place = filled();
    let first = Shell::of(&place);
    first.enter("SELECT 'asked\rbefore' AS x;");
    first.leave();
    let second = Shell::of(&place);
    second.terminal.press("\x1b[A");
    second.terminal.until_shows("before' AS x;");
    second.terminal.press("\x03");
    second.prompt();
    second.leave();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let history = place.path("state/sql_history");
        let mode = history.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "others may read it: {mode:o}");
    }
}

#[test]
fn a_run_may_write_while_the_shell_waits_for_a_query() {
    let place = filled();
    let shell = Shell::of(&place);
    shell.enter("SELECT 1 AS a;");
    // The names may still be looked for.
    let append = [
        "run",
        "test.toml",
        "--set",
        "sink.mode=append",
        "--wait=30s",
    ];
    place.mixflow(&append).ended(0);
    let shown = shell.enter("SELECT count(*) AS n FROM events;");
    assert!(shown.contains("│ 600 │"), "{shown}");
    shell.leave();
}

#[test]
fn a_pipe_is_asked_until_something_fails() {
    let place = filled();
    let ask = |text: &str| place.fed(&["sql", "--db", "out.db"], text);
    let shown = ask("SELECT 1 AS a; SELECT 2 AS b\n")
        .ended(0)
        .stdout_lossy();
    assert!(
        shown.contains("│ a │") && shown.contains("│ b │"),
        "{shown}"
    );
    let ran = ask("SELECT 1 AS a; DROP TABLE events; SELECT 2 AS b").ended(1);
    let shown = ran.stdout_lossy();
    assert!(
        shown.contains("│ a │") && !shown.contains("│ b │"),
        "{shown}"
    );
    place
        .mixflow(&["sql", "--db", "nowhere.db"])
        .ended(6)
        .says("cannot open `nowhere.db`");
}

#[test]
fn a_query_comes_from_a_file_with_parameters() {
    let place = filled();
    place.write(
        "a.sql",
        "-- $not a parameter\nSELECT event_time::DATE AS day, count(*) AS n, '$x' AS text\n\
         FROM events WHERE event_time::DATE = $day AND event_name <> $Name GROUP BY 1;\n",
    );
    let args = [
        "query",
        "-f",
        "a.sql",
        "--param",
        "day=2024-01-02",
        "--param",
        "name=it's",
    ];
    assert_snapshot!(told(&place, &args), @r"
    ┌────────────┬─────┬──────┐
    │ day        │   n │ text │
    ├────────────┼─────┼──────┤
    │ 2024-01-02 │ 150 │ $x   │
    └────────────┴─────┴──────┘
    1 row
    ");
    let args = [
        "query",
        "SELECT $n::INT + 1 AS n, $t AS t",
        "--param",
        "n=41",
        "--param",
        "t='; DROP TABLE events",
    ];
    let csv = told(&place, &[&args[..], &["--format", "csv"]].concat());
    assert_eq!(csv, "n,t\n42,'; DROP TABLE events\n");
    assert_snapshot!(ask(&place, &["query", "SELECT $day"]).ended(1).stderr, @r"
    error: cannot answer the query
      caused by: its parameter `$day` has no value
    hint: give it one with `--param day=VALUE`; where a `$` in it is no parameter, put it between quotes
    ");
    ask(&place, &["query", "SELECT 1", "--param", "day=2"])
        .ended(1)
        .says("it has no parameter `$day`");
    ask(&place, &["query", "SELECT $a", "--param", "a"])
        .ended(2)
        .says("this has no `=`");
    ask(&place, &["query", "-f", "no.sql"])
        .ended(1)
        .says("cannot read the query file `no.sql`");
    // A value is no way around what a query may do.
    for sql in ["COPY (SELECT $a) TO 'x.csv'", "SELECT $a; SELECT 2"] {
        ask(&place, &["query", sql, "--param", "a=1"]).ended(1);
    }
    assert_eq!(place.names(), ["a.sql", "out.db"]);
}

#[test]
fn what_goes_wrong_often_has_a_hint() {
    let place = filled();
    let said = |sql: &str| ask(&place, &["query", sql]).stderr;
    assert_snapshot!(said("SELECT properties->>'$city' FROM events"), @r"
    error: cannot answer the query
      caused by: Binder Error: JSON path error near 'city'
    hint: `'$city'` is a path for DuckDB: the property of that name is `'/$city'`
    ");
    assert_snapshot!(said("SELECT sum(properties->>'amount') FROM events"), @r"
    error: cannot answer the query
      caused by: Binder Error: No function matches the given name and argument types 'sum(VARCHAR)'. You might need to add explicit type casts.
    	Candidate functions:
    	sum(arg DECIMAL) -> DECIMAL
    	sum(arg BOOLEAN, /) -> HUGEINT
    	sum(arg SMALLINT, /) -> HUGEINT
    	sum(arg INTEGER, /) -> HUGEINT
    	sum(arg BIGINT, /) -> HUGEINT
    	sum(arg HUGEINT, /) -> HUGEINT
    	sum(arg DOUBLE, /) -> DOUBLE
    	sum(arg BIGNUM, /) -> BIGNUM


    LINE 1: SELECT sum(properties->>'amount') FROM events
                   ^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: a property is text: cast it, such as `sum((properties->>'amount')::DOUBLE)`
    ");
    assert_snapshot!(said("SELECT avg(properties->'amount') FROM events"), @r"
    error: cannot answer the query
      caused by: Binder Error: No function matches the given name and argument types 'avg(JSON)'. You might need to add explicit type casts.
    	Candidate functions:
    	avg(x DECIMAL) -> DECIMAL
    	avg(x SMALLINT, /) -> DOUBLE
    	avg(x INTEGER, /) -> DOUBLE
    	avg(x BIGINT, /) -> DOUBLE
    	avg(x HUGEINT, /) -> DOUBLE
    	avg(x INTERVAL, /) -> INTERVAL
    	avg(x DOUBLE, /) -> DOUBLE
    	avg(x TIMESTAMP, /) -> TIMESTAMP
    	avg(x TIMESTAMP WITH TIME ZONE, /) -> TIMESTAMP WITH TIME ZONE
    	avg(x TIME, /) -> TIME
    	avg(x TIME WITH TIME ZONE, /) -> TIME WITH TIME ZONE


    LINE 1: SELECT avg(properties->'amount') FROM events
                   ^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: a property is text: cast it, such as `avg((properties->>'amount')::DOUBLE)`
    ");
    // What `"… '/$os' …"` becomes in a shell.
    assert_snapshot!(said("SELECT properties->>'/' FROM events LIMIT 1"), @r"warning: the query asks for a property without a name: in double quotes a shell puts its own variable for `$os`; write `\$os`, or put the query into a file for `-f FILE`");
    assert_eq!(said("SELECT properties->>'/$os' FROM events LIMIT 1"), "");
}
