//! Runs that give up: the program must not take that for an end.

use mixflow_core::sink::Residue;

use super::*;

/// Says so when its input ends, whatever else it is told. `$0/pid` is there
/// when it reads.
const LOOK: &str = r#"
    echo $$ > "$0/pid"
    cat > "$0/out" && echo "end of file" > "$0/end"
"#;

#[test]
fn an_abort_is_never_an_end_of_file() {
    for _ in 0..20 {
        let place = Place::new();
        let sink = place.sink(LOOK);
        let mut txn = begun(&sink, &few());
        let pid = place.line("pid");
        txn.write(&many()).expect("it is read");
        assert_eq!(txn.abort().expect("it can tell"), Residue::None);
        assert!(!known(&pid));
        assert!(!place.path("end").exists());
    }
}

#[test]
fn a_drop_is_an_abort() {
    let place = Place::new();
    let sink = place.sink(LOOK);
    let mut txn = begun(&sink, &few());
    let pid = place.line("pid");
    txn.write(&many()).expect("it is read");
    drop(txn);
    assert!(!known(&pid));
    assert!(!place.path("end").exists());
}

#[test]
fn a_program_that_ignores_sigterm_is_killed_before_it_sees_an_end() {
    let place = Place::new();
    let sink = place.sink(&format!("trap '' TERM; {LOOK}"));
    let mut txn = begun(&sink, &few());
    let pid = place.line("pid");
    txn.write(&many()).expect("it is read");
    txn.abort().expect("it can tell");
    assert!(!known(&pid));
    assert!(!place.path("end").exists());
}

#[test]
fn a_program_may_tidy_up_at_sigterm() {
    let place = Place::new();
    let sink = place.sink(
        r#"trap 'rm "$0/part"; echo yes > "$0/tidy"; exit 1' TERM
        echo x > "$0/part"; echo $$ > "$0/pid"; sleep 1000 & wait"#,
    );
    let txn = begun(&sink, &few());
    place.line("pid");
    txn.abort().expect("it can tell");
    assert_eq!(place.line("tidy"), "yes");
    assert!(!place.path("part").exists());
}

#[test]
fn what_the_program_has_started_dies_with_it() {
    let place = Place::new();
    // Both ignore SIGTERM; the program itself ends at once.
    let script = r#"
        (trap '' TERM; sleep 1000 & echo $! > "$0/pid"; wait) &
        cat > /dev/null
    "#;
    let sink = place.sink(script);
    let txn = begun(&sink, &few());
    let pid = place.line("pid");
    assert!(alive(&pid));
    txn.abort().expect("it can tell");
    until(|| !alive(&pid));
}

#[test]
fn what_a_program_has_started_dies_when_it_refuses_to_commit() {
    let place = Place::new();
    let sink = place.sink(r#"cat > /dev/null; sleep 1000 & echo $! > "$0/pid"; exit 1"#);
    run(&sink, &[few()]).expect_err("it refuses");
    let pid = place.line("pid");
    until(|| !alive(&pid));
}

#[test]
fn without_a_promise_what_was_sent_may_be_anywhere() {
    let place = Place::new();
    let sink = sink(ExecOptions {
        transactional: Some(false),
        ..place.script("cat > /dev/null")
    });
    let mut txn = begun(&sink, &few());
    txn.write(&few()).expect("it is read");
    assert_eq!(txn.abort().expect("it can tell"), Residue::Unknown);
    let txn = begun(&sink, &few());
    assert_eq!(txn.abort().expect("it can tell"), Residue::None);
}
