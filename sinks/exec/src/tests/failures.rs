//! Programs that do not do their part.

use super::*;

/// What became of a run that fails, in one line; `?` if it may have committed.
fn told(sink: &ExecSink, batches: &[Batch]) -> String {
    let error = run(sink, batches).expect_err("it fails");
    let doubt = if error.is_in_doubt() { "? " } else { "" };
    let mut line = error.to_string();
    for cause in error.causes() {
        line.push_str(" / ");
        line.push_str(&cause);
    }
    // The script itself is long.
    let (_, line) = line.rsplit_once("` ").expect("the command");
    format!("{doubt}{line}")
}

#[test]
fn an_exit_code_at_commit_is_an_error_with_the_last_words() {
    let place = Place::new();
    let sink = place.sink("cat > /dev/null; seq 20 >&2; echo '  no, thanks' >&2; exit 3");
    assert_eq!(
        told(&sink, &[few()]),
        "had all rows and ended with exit code 3 / it wrote to stderr:\n    12\n    13\n    14\n    15\n    16\n    17\n    18\n    19\n    20\n      no, thanks"
    );
}

#[test]
fn a_signal_at_commit_leaves_open_what_was_done() {
    let place = Place::new();
    let sink = place.sink("cat > /dev/null; kill -9 $$");
    assert_eq!(
        told(&sink, &[few()]),
        "? had all rows and ended by signal 9 (SIGKILL) / it wrote nothing to stderr"
    );
}

#[test]
fn a_program_that_dies_in_the_middle_is_told_with_its_exit_code() {
    let place = Place::new();
    let sink = place.sink("head -c 100000 > /dev/null; echo 'disk full' >&2; exit 9");
    assert_eq!(
        told(&sink, &[few(), many()]),
        "ended before it had all rows, with exit code 9 / it wrote to stderr:\n    disk full"
    );
}

#[test]
fn a_program_that_is_killed_in_the_middle_is_told_with_the_signal() {
    let place = Place::new();
    let sink = place.sink("head -c 100000 > /dev/null; kill -11 $$");
    let told = told(&sink, &[many()]);
    assert!(
        told.starts_with("ended before it had all rows, by signal 11 (SIGSEGV"),
        "{told}"
    );
}

#[test]
fn exit_code_0_before_everything_was_read_is_no_commit() {
    // All of it fits into the pipe, so that only its being read tells.
    for script in ["exit 0", "head -c 10 > /dev/null"] {
        let place = Place::new();
        assert_eq!(
            told(&place.sink(script), &[few()]),
            "ended before it had all rows, with exit code 0 / it wrote nothing to stderr"
        );
    }
}

#[test]
fn a_program_that_ends_between_batches_is_noticed_at_the_next() {
    let place = Place::new();
    let sink = place.sink("echo $$ > \"$0/pid\"; head -c 10 > /dev/null");
    let mut txn = begun(&sink, &few());
    txn.write(&few()).expect("the pipe takes it");
    let pid = place.line("pid");
    until(|| !alive(&pid));
    let error = txn.write(&few()).expect_err("it has ended");
    assert!(error.message().ends_with("with exit code 0"), "{error}");
}

#[test]
fn a_program_that_does_not_read_is_given_up() {
    let place = Place::new();
    let sink = place.hasty("sleep 1000");
    assert!(told(&sink, &[many()]).starts_with("hangs: it has read nothing for 100ms"));
    // The same with rows that the pipe takes, which are missed at commit.
    assert!(told(&sink, &[few()]).starts_with("hangs: it has read nothing for 100ms"));
}

#[test]
fn a_program_that_does_not_end_is_given_up() {
    let place = Place::new();
    let sink = place.hasty("echo $$ > \"$0/pid\"; cat > /dev/null; echo waiting >&2; sleep 1000");
    assert_eq!(
        told(&sink, &[few()]),
        "? hangs: it had all rows and has not ended for 100ms / it wrote to stderr:\n    waiting"
    );
    assert!(!known(&place.line("pid")));
    drop(begun(&sink, &few()));
}

#[test]
fn a_program_that_closes_its_input_is_given_up() {
    let place = Place::new();
    let sink = place.sink("exec <&-; sleep 1000");
    let told = told(&sink, &[many()]);
    assert!(told.starts_with("closed its standard input"), "{told}");
}

#[test]
fn somebody_else_with_the_input_open_does_not_hide_that_the_program_has_ended() {
    let place = Place::new();
    // It leaves the group, so that it is not killed either.
    let sink = place.sink("setsid sleep 20 <&0 & exit 4");
    let since = Instant::now();
    assert!(told(&sink, &[many()]).starts_with("ended before it had all rows, with exit code 4"));
    assert!(since.elapsed() < Duration::from_secs(15));
}

#[test]
fn after_a_failed_write_there_is_no_commit() {
    let place = Place::new();
    let sink =
        place.sink("cat > \"$0/out\"; test -e \"$MIXFLOW_COMMIT\" && echo yes > \"$0/done\"");
    let batch = out_of_range();
    let mut txn = begun(&sink, &batch);
    let first = Batch {
        records: batch.records.slice(0, 1),
        partition: batch.partition,
    };
    txn.write(&first).expect("it is read");
    let error = txn.write(&batch).expect_err("no such time");
    assert!(error.message().contains("outside the years"), "{error}");
    let error = txn.commit(&ALL).expect_err("refused");
    assert!(
        error.message().contains("nothing can be committed"),
        "{error}"
    );
    assert!(!place.path("done").exists());
}

/// A row, and one whose time lines have no form for.
fn out_of_range() -> Batch {
    let times = arrow::array::TimestampMicrosecondArray::from(vec![0, i64::MAX]);
    let texts = StringArray::from(vec!["a", "b"]);
    let columns: [(&str, ArrayRef); 2] = [("n", Arc::new(times)), ("t", Arc::new(texts))];
    Batch {
        records: RecordBatch::try_from_iter(columns).expect("it fits"),
        partition: PartitionId(0),
    }
}

#[test]
fn a_program_that_is_absent_or_cannot_be_started_is_a_wrong_option() {
    let place = Place::new();
    let cx = |sink: &ExecSink| {
        let batch = few();
        let cx = TxnContext {
            run_id: String::new(),
            schema: batch.records.schema(),
            source: SourceInfo::default(),
            started_at: jiff::Timestamp::UNIX_EPOCH,
            cancel: mixflow_core::cancel::CancelToken::never(),
        };
        let begun = sink.begin(&cx).map(|_| ()).expect_err("absent");
        [begun, sink.preview(&cx).expect_err("absent")]
    };
    std::fs::write(place.path("text"), "no program").expect("writes");
    for name in [place.path("absent"), place.path("text")] {
        let name = name.to_str().expect("UTF-8").to_owned();
        let sink = sink(ExecOptions {
            command: vec![name],
            ..place.script("")
        });
        for error in cx(&sink) {
            assert_eq!(error.kind(), mixflow_core::ErrorKind::Config);
            assert!(error.message().starts_with("cannot start `"), "{error}");
        }
    }
}
