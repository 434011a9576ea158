//! Programs that do their part.

use std::fs::File;

use arrow::array::{AsArray as _, BinaryArray};
use arrow::datatypes::Int64Type;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use mixflow_core::sink::PartitionInfo;
use mixflow_core::source::Extent;

use super::*;

/// Publishes what it has read, as the protocol wants it.
const KEEP: &str = r#"
    cat > "$0/part" || exit
    test -e "$MIXFLOW_COMMIT" || exit
    mv "$0/part" "$0/out"
"#;

fn arrow(place: &Place, batches: &[Batch]) -> Vec<i64> {
    let sink = sink(ExecOptions {
        format: None,
        ..place.script(KEEP)
    });
    let rows: usize = batches.iter().map(|batch| batch.records.num_rows()).sum();
    assert_eq!(run(&sink, batches).expect("it commits"), rows as u64);
    let stream = File::open(place.path("out")).expect("it is there");
    let reader = StreamReader::try_new(stream, None).expect("a stream");
    assert_eq!(reader.schema(), few().records.schema());
    reader
        .flat_map(|records| {
            let records = records.expect("it is whole");
            records
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        })
        .collect()
}

#[test]
fn an_arrow_stream_arrives_whole() {
    let batches = [
        batch(0..5_000, 1_000),
        batch(0..0, 1),
        batch(5_000..5_001, 1),
    ];
    let rows = arrow(&Place::new(), &batches);
    assert_eq!(rows, (0..5_001).collect::<Vec<_>>());
}

#[test]
fn an_arrow_stream_without_rows_has_a_schema_and_an_end() {
    let place = Place::new();
    assert_eq!(arrow(&place, &[]), Vec::<i64>::new());
    let bytes = std::fs::read(place.path("out")).expect("it is there");
    assert!(bytes.ends_with(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
}

#[test]
fn lines_are_those_of_the_jsonl_sink() {
    let place = Place::new();
    let rows = run(&place.sink(KEEP), &[few(), batch(3..4, 2)]).expect("it commits");
    assert_eq!(rows, 4);
    assert_eq!(
        place.read("out"),
        "{\"n\":0,\"t\":\"x\"}\n{\"n\":1,\"t\":\"x\"}\n{\"n\":2,\"t\":\"x\"}\n{\"n\":3,\"t\":\"xx\"}\n"
    );
}

#[test]
fn raw_records_arrive_to_the_byte() {
    let place = Place::new();
    let sink = sink(ExecOptions {
        format: Some(ExecFormat::Raw),
        ..place.script(KEEP)
    });
    let records: Vec<&[u8]> = vec![b"{\"a\": \"\\u00e9\"}", b"{\"b\":1.0}"];
    let column: ArrayRef = Arc::new(BinaryArray::from(records));
    let raw = Batch {
        records: RecordBatch::try_from_iter([("record", column)]).expect("it fits"),
        partition: PartitionId(0),
    };
    sink.check_schema(&raw.records.schema()).expect("it can");
    assert!(sink.check_schema(&few().records.schema()).is_err());
    let mut txn = begun(&sink, &raw);
    txn.write(&raw).expect("it is read");
    txn.commit(&ALL).expect("it commits");
    assert_eq!(place.read("out"), "{\"a\": \"\\u00e9\"}\n{\"b\":1.0}\n");
}

#[test]
fn the_permit_is_there_at_the_end_of_an_arrow_stream_and_not_before() {
    let mut whole = StreamWriter::try_new(Vec::new(), &few().records.schema()).expect("fine");
    whole.write(&few().records).expect("fine");
    whole.finish().expect("fine");
    // It looks as soon as it has read the head, and as soon as it has read the
    // end marker; it does not wait for the end of file.
    let script = format!(
        r#"head -c 4 > /dev/null
        test -e "$MIXFLOW_COMMIT" && exit 5
        echo yes > "$0/absent"
        head -c {} > /dev/null
        test -e "$MIXFLOW_COMMIT" || exit 6"#,
        whole.get_ref().len() - 4
    );
    let place = Place::new();
    let sink = sink(ExecOptions {
        format: None,
        ..place.script(&script)
    });
    let mut txn = begun(&sink, &few());
    txn.write(&few()).expect("it is read");
    assert_eq!(place.line("absent"), "yes");
    txn.commit(&ALL).expect("it has found the permit");
}

#[test]
fn the_permit_says_what_was_sent_and_what_is_missing_and_then_goes() {
    let place = Place::new();
    let script =
        r#"cat > "$0/out"; cp "$MIXFLOW_COMMIT" "$0/permit"; echo "$MIXFLOW_COMMIT" > "$0/path""#;
    let sink = place.sink(script);
    let mut txn = begun(&sink, &few());
    txn.write(&few()).expect("it is read");
    let day = PartitionInfo {
        id: PartitionId(1),
        label: "2024-01-02".to_owned(),
        extent: Extent::Whole,
    };
    let missing = [(day, "the server said no".to_owned())];
    let outcome = Outcome {
        missing: &missing,
        rows: 3,
        units: &[],
    };
    txn.commit(&outcome).expect("it commits");
    assert_eq!(
        place.read("permit"),
        "{\"run_id\":\"run-1\",\"status\":\"partial\",\"rows\":3,\"missing\":[{\"partition\":\"2024-01-02\",\"reason\":\"the server said no\"}]}\n"
    );
    let path = place.line("path");
    assert!(!Path::new(&path).parent().expect("a folder").exists());
}

#[test]
fn variables_tell_of_the_run_and_can_be_added_and_left_out() {
    let place = Place::new();
    let script =
        r#"cat > "$0/out"; env | grep -E '^(MIXFLOW_|EXTRA|CARGO_PKG_NAME)' | sort > "$0/env""#;
    let env = [("EXTRA", "more"), ("CARGO_PKG_NAME", "")];
    assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
    let sink = sink(ExecOptions {
        env: env.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..place.script(script)
    });
    run(&sink, &[few()]).expect("it commits");
    let env = place.read("env");
    let lines: Vec<&str> = env
        .lines()
        .filter(|line| !line.starts_with("MIXFLOW_COMMIT=/") && !line.starts_with("MIXFLOW_STATE"))
        .collect();
    assert_eq!(
        lines,
        [
            "EXTRA=more",
            "MIXFLOW_DATA_TYPE=events",
            "MIXFLOW_FROM_DATE=2024-01-01",
            "MIXFLOW_RUN_ID=run-1"
        ]
    );
}

#[test]
fn a_flood_on_stderr_and_stdout_blocks_nothing() {
    let place = Place::new();
    let script = r#"
        head -c 5000000 /dev/zero | tr '\0' x >&2
        yes | head -c 5000000
        cat > "$0/out"
        yes | head -c 5000000 >&2
    "#;
    assert_eq!(run(&place.sink(script), &[many()]).expect("fine"), 4_000);
    assert_eq!(place.read("out").lines().count(), 4_000);
}

#[test]
fn what_a_program_leaves_running_does_not_hold_the_commit_up() {
    let place = Place::new();
    // It keeps stdout and stderr open.
    let script = r#"cat > "$0/out"; sleep 1000 & echo $! > "$0/pid""#;
    run(&place.sink(script), &[few()]).expect("it commits");
    let pid = place.line("pid");
    assert!(alive(&pid));
    std::process::Command::new("kill")
        .arg(&pid)
        .status()
        .expect("kills");
}

#[test]
fn a_preview_finds_the_program_and_starts_nothing() {
    let place = Place::new();
    let sink = place.sink("echo started > \"$0/out\"");
    let cx = TxnContext {
        run_id: String::new(),
        schema: few().records.schema(),
        source: SourceInfo::default(),
        started_at: jiff::Timestamp::UNIX_EPOCH,
        cancel: mixflow_core::cancel::CancelToken::never(),
    };
    let actions = sink.preview(&cx).expect("it is there").actions;
    assert_eq!(actions.len(), 1);
    assert!(actions[0].starts_with("starts `sh -c "), "{actions:?}");
    assert!(
        actions[0].ends_with(" and sends it JSON lines"),
        "{actions:?}"
    );
    assert!(!place.path("out").exists());
}
