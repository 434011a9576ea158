//! What servers and events say gives no orders to a terminal.

use mixflow_tests::sim::{Action, Data, Fault, Matcher};

use crate::support::{DUCKDB, Place, STDOUT, events, on_a_terminal, pipeline, sim, started};

/// Sets a title, hides the cursor, in C0 and in C1, and turns a line around.
const ORDERS: &str = "a\u{1b}]0;x\u{7}\u{9b}?25l\u{202e}b\u{7f}";

#[track_caller]
fn assert_shown(shown: &str) {
    assert!(shown.contains("25l"), "{shown:?}");
    for order in ['\u{1b}', '\u{7}', '\u{7f}', '\u{9b}', '\u{202e}'] {
        assert!(!shown.contains(order), "{order:?} in {shown:?}");
    }
}

#[test]
fn answers_on_a_terminal_are_written_out_and_elsewhere_stay() {
    let place = Place::new();
    let sql = "SELECT 'a' || chr(27) || ']0;x' || chr(7) || chr(155) || '?25l' || chr(8238) || 'b' || chr(127) AS x";
    place.write("made.toml", &pipeline(&["[source]\ntype = \"synthetic_events\"\nrows = 1\nfrom = \"2024-01-01\"\nto = \"2024-01-01\"\n", DUCKDB]));
    place.mixflow(&["run", "made.toml"]).ended(0);
    for form in [
        &["--scalar"][..],
        &["--format", "csv"],
        &["--format", "table"],
        &["--format", "json"],
        &["--format", "jsonl"],
    ] {
        let args = [&["query", sql, "--db", "out.db"][..], form].concat();
        let Some(shown) = on_a_terminal(&place.command(&args), 80) else {
            return;
        };
        assert_shown(&shown);
    }
    // Data is data where no terminal is.
    for form in [&["--scalar"][..], &["--format", "csv"]] {
        let args = [&["query", sql, "--db", "out.db"][..], form].concat();
        let ran = place.mixflow(&args).ended(0);
        assert!(
            ran.stdout_lossy().contains(ORDERS),
            "{:?}",
            ran.stdout_lossy()
        );
    }
}

#[test]
fn what_a_server_says_is_written_out_everywhere() {
    let sim = started(sim(Data::sample()));
    let body = format!("{{\"error\": {:?}}}", "you \u{9b}?25l\u{202e} no");
    let body = body
        .replace("\\u{9b}", "\u{9b}")
        .replace("\\u{202e}", "\u{202e}");
    sim.add_fault(Fault::always(
        Matcher::export(),
        Action::Status {
            code: 400,
            retry_after: None,
            body: Some(body),
        },
    ));
    let place = Place::new();
    let text = pipeline(&[&events(&sim, ""), STDOUT]);
    for progress in ["plain", "json"] {
        let (ran, _) = place.run_with(&text, &["--progress", progress, "-vvv"]);
        assert_shown(&ran.ended(1).stderr);
    }
    if let Some(shown) = on_a_terminal(&place.command(&["runs"]), 80) {
        assert_shown(&shown.replace("…", "25l"));
    }
}
