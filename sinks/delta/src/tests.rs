//! What runs do to a table, one after the other and at the same time.

use std::fs;

use arrow::datatypes::{DataType, Field};
use mixflow_core::ErrorKind;
use mixflow_core::ledger::Scope;
use mixflow_core::sink::{Residue, Sink as _, WriteMode};
use mixflow_core::testing::assert_described;

use crate::made_up::{Run, Spot, dataset, held};
use crate::{DeltaOptions, DeltaSink};

#[test]
fn every_option_is_described() {
    assert_described::<DeltaOptions>(&crate::DOC);
}

#[test]
fn addresses_are_checked_without_asking_anybody() {
    let sink = |json: &str| {
        let options = serde_json::from_str(json).expect("it parses");
        DeltaSink::new(options, None).map_err(|invalid| invalid[0].message.clone())
    };
    assert!(sink(r#"{"path": "s3://bucket/events", "region": "eu-central-1"}"#).is_ok());
    for (json, why) in [
        (r#"{"path": "/"}"#, "no folder of its own"),
        (r#"{"path": "ftp://host/a"}"#, "s3://"),
        (r#"{"path": "s3://key:s3cr3t@bucket/a"}"#, "environment"),
        (
            r#"{"path": "a", "endpoint": "http://x"}"#,
            "a folder of this machine",
        ),
    ] {
        let refused = sink(json).expect_err("refused");
        assert!(
            refused.contains(why) && !refused.contains("s3cr3t"),
            "{refused}"
        );
    }
}

#[test]
fn each_mode_is_one_commit_of_rows_and_ledger() {
    let spot = Spot::new();
    let run = |id, mode| spot.run(id, mode);
    let windows: &[_] = &[(1, 1, &[1, 2][..]), (2, 3, &[50])];
    run("a", WriteMode::Create).fetch(windows).expect("commits");
    assert_eq!(spot.table().version(), 0);
    assert_eq!(spot.hours(), [1, 2, 50]);
    assert_eq!(
        spot.held(),
        [held(1, 2, "a"), held(2, 0, "a"), held(3, 1, "a")]
    );

    run("b", WriteMode::Append)
        .fetch(&[(4, 4, &[73])])
        .expect("commits");
    assert_eq!(spot.table().version(), 1);
    assert_eq!(spot.hours(), [1, 2, 50, 73]);

    run("c", WriteMode::ReplaceWindow)
        .fetch(&[(3, 4, &[51, 74])])
        .expect("commits");
    assert_eq!(spot.table().version(), 2);
    assert_eq!(spot.hours(), [1, 2, 51, 74]);
    let days = [
        held(1, 2, "a"),
        held(2, 0, "a"),
        held(3, 1, "c"),
        held(4, 1, "c"),
    ];
    assert_eq!(spot.held(), days);

    run("d", WriteMode::Replace)
        .fetch(&[(9, 9, &[200, 201])])
        .expect("commits");
    assert_eq!(spot.table().version(), 3);
    assert_eq!(spot.hours(), [200, 201]);
    assert_eq!(spot.held(), [held(9, 2, "d")]);

    let error = run("e", WriteMode::Create)
        .fetch(windows)
        .expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::TableExists);
    assert_eq!(spot.hours(), [200, 201]);
}

#[test]
fn a_day_of_a_zone_is_replaced_and_its_neighbours_stay() {
    let spot = Spot::new();
    let run = |id, mode| Run {
        dataset: dataset("US/Pacific", None),
        ..spot.run(id, mode)
    };
    // Eight hours behind: the 1st lasts from 8 to 32.
    let windows: &[_] = &[(1, 1, &[8, 31][..]), (2, 2, &[32, 55]), (3, 3, &[56])];
    run("a", WriteMode::Create).fetch(windows).expect("commits");
    // A row outside its days belongs to the nearest, and goes with it.
    run("b", WriteMode::ReplaceWindow)
        .fetch(&[(2, 2, &[33, 90])])
        .expect("commits");
    assert_eq!(spot.hours(), [8, 31, 33, 56, 90]);
    run("c", WriteMode::ReplaceWindow)
        .fetch(&[(2, 2, &[34])])
        .expect("commits");
    assert_eq!(spot.hours(), [8, 31, 34, 56]);
}

#[test]
fn a_run_that_is_sent_twice_commits_once() {
    let spot = Spot::new();
    let windows: &[_] = &[(1, 1, &[1, 2][..])];
    for mode in [WriteMode::Create, WriteMode::Append] {
        let first = spot.run("a", mode).fetch(windows);
        assert_eq!(
            first.map(|done| done.rows).ok(),
            (mode == WriteMode::Create).then_some(2).or(Some(2))
        );
    }
    assert_eq!((spot.table().version(), spot.hours()), (0, vec![1, 2]));
    // Also when both were under way before either committed.
    let one = spot.run("b", WriteMode::Append);
    let (sink, other_sink) = (one.sink(), one.sink());
    let windows: &[_] = &[(2, 2, &[30][..])];
    let first = one.write(&sink, windows).expect("writes");
    let second = one.write(&other_sink, windows).expect("writes");
    assert_eq!(one.commit(first, windows).expect("commits").rows, 1);
    assert_eq!(one.commit(second, windows).expect("it is there").rows, 1);
    assert_eq!((spot.table().version(), spot.hours()), (1, vec![1, 2, 30]));
    assert_eq!(spot.data_files().len(), 2, "{:?}", spot.data_files());
    // And when others have committed since.
    spot.run("c", WriteMode::Append)
        .fetch(&[(3, 3, &[55])])
        .expect("commits");
    one.fetch(windows).expect("it is there");
    assert_eq!(spot.hours(), [1, 2, 30, 55]);
}

#[test]
fn writers_of_different_days_both_commit_and_of_the_same_the_first() {
    let spot = Spot::new();
    spot.run("a", WriteMode::Create)
        .fetch(&[(1, 1, &[1])])
        .expect("commits");
    let (two, three) = (
        spot.run("b", WriteMode::ReplaceWindow),
        spot.run("c", WriteMode::ReplaceWindow),
    );
    let (sink, other) = (two.sink(), three.sink());
    let windows: [&[_]; 2] = [&[(2, 2, &[30][..])], &[(3, 3, &[55][..])]];
    let first = two.write(&sink, windows[0]).expect("writes");
    let second = three.write(&other, windows[1]).expect("writes");
    three.commit(second, windows[1]).expect("commits");
    two.commit(first, windows[0]).expect("commits beside it");
    assert_eq!((spot.table().version(), spot.hours()), (2, vec![1, 30, 55]));

    let late = spot.run("d", WriteMode::ReplaceWindow);
    let late_sink = late.sink();
    let txn = late.write(&late_sink, &[(2, 2, &[31])]).expect("writes");
    spot.run("e", WriteMode::ReplaceWindow)
        .fetch(&[(2, 2, &[32])])
        .expect("commits");
    let error = late
        .commit(txn, &[(2, 2, &[31])])
        .expect_err("another was quicker");
    assert_eq!(error.kind(), ErrorKind::Destination);
    assert!(error.in_a_line().contains("version 3"), "{error:?}");
    assert_eq!(spot.hours(), [1, 32, 55]);
    assert_eq!(spot.data_files().len(), 4, "{:?}", spot.data_files());
}

#[test]
fn a_whole_table_is_not_replaced_over_rows_that_nobody_has_seen() {
    for mode in [WriteMode::Create, WriteMode::Replace] {
        let spot = Spot::new();
        if mode == WriteMode::Replace {
            spot.run("a", WriteMode::Create)
                .fetch(&[(1, 1, &[1])])
                .expect("commits");
        }
        let late = spot.run("b", mode);
        let sink = late.sink();
        let txn = late.write(&sink, &[(2, 2, &[31])]).expect("writes");
        spot.run("c", WriteMode::Append)
            .fetch(&[(3, 3, &[50])])
            .expect("commits");
        let error = late
            .commit(txn, &[(2, 2, &[31])])
            .expect_err("another was quicker");
        assert_eq!(error.kind().class(), ErrorKind::Destination);
        let version = spot.table().version();
        assert!(
            error.in_a_line().contains(&format!("version {version}")),
            "{error:?}"
        );
    }
}

#[test]
fn columns_come_by_themselves_and_go_with_the_table() {
    let spot = Spot::new();
    let with = |id, mode, kind| Run {
        extra: Some(Field::new("city", kind, true)),
        ..spot.run(id, mode)
    };
    spot.run("a", WriteMode::Create)
        .fetch(&[(1, 1, &[1])])
        .expect("commits");
    with("b", WriteMode::Append, DataType::Utf8)
        .fetch(&[(2, 2, &[30])])
        .expect("commits");
    let names = |spot: &Spot| -> Vec<String> {
        let columns = spot.table().columns();
        columns
            .iter()
            .map(|column| format!("{} {}", column.name(), column.data_type))
            .collect()
    };
    let all = ["event_time timestamp", "properties string", "city string"];
    assert_eq!(names(&spot), all);
    assert_eq!(spot.hours(), [1, 30]);
    let error = with("c", WriteMode::Append, DataType::Int64).preview(&[(3, 3, &[])]);
    assert_eq!(
        error.expect_err("another type").kind(),
        ErrorKind::Destination
    );
    let error = spot
        .run("d", WriteMode::ReplaceWindow)
        .preview(&[(3, 3, &[])]);
    assert_eq!(
        error.expect_err("it lacks one").kind(),
        ErrorKind::Destination
    );
    with("e", WriteMode::Replace, DataType::Int64)
        .fetch(&[(3, 3, &[60])])
        .expect("commits");
    assert_eq!(names(&spot)[2], "city long");
    assert_eq!(spot.hours(), [60]);
}

#[test]
fn rows_of_other_filters_are_refused_or_stay() {
    let spot = Spot::new();
    let run = |id, scope, filter| Run {
        scope,
        dataset: dataset("UTC", filter),
        ..spot.run(id, WriteMode::ReplaceWindow)
    };
    run("a", Scope::Window, None)
        .fetch(&[(1, 1, &[1])])
        .expect("commits");
    let error = run("b", Scope::Window, Some("x")).preview(&[(1, 1, &[])]);
    assert_eq!(
        error.expect_err("other filters").kind(),
        ErrorKind::Destination
    );
    run("c", Scope::Filter, Some("x"))
        .fetch(&[(1, 1, &[2])])
        .expect("commits");
    run("d", Scope::Filter, Some("x"))
        .fetch(&[(1, 1, &[3])])
        .expect("commits");
    assert_eq!(spot.hours(), [1, 3]);
    assert_eq!(spot.held(), [held(1, 1, "a")]);
}

#[test]
fn a_replacement_by_next_to_nothing_is_refused() {
    let spot = Spot::new();
    let hours: Vec<i64> = (0..20).collect();
    spot.run("a", WriteMode::Create)
        .fetch(&[(1, 1, &hours)])
        .expect("commits");
    for mode in [WriteMode::Replace, WriteMode::ReplaceWindow] {
        let error = spot
            .run("b", mode)
            .fetch(&[(1, 1, &[1])])
            .expect_err("it shrinks");
        assert_eq!(error.kind(), ErrorKind::Data);
    }
    assert_eq!((spot.hours(), spot.data_files().len()), (hours, 1));
}

#[test]
fn what_is_not_ours_is_refused_before_anything_is_asked_for() {
    let parquet = Spot::new();
    fs::create_dir_all(parquet.path.join("date=1970-01-01")).expect("a temp folder");
    fs::write(parquet.path.join("date=1970-01-01/part-0.parquet"), "x").expect("a temp folder");
    let delta = Spot::new();
    fs::create_dir_all(delta.path.join("_delta_log")).expect("a temp folder");
    let log = concat!(
        r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#,
        "\n",
        r#"{"metaData":{"id":"x","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[]}","partitionColumns":[],"configuration":{}}}"#,
        "\n"
    );
    fs::write(delta.path.join("_delta_log/00000000000000000000.json"), log).expect("a temp folder");
    for spot in [parquet, delta] {
        for mode in [
            WriteMode::Create,
            WriteMode::Append,
            WriteMode::Replace,
            WriteMode::ReplaceWindow,
        ] {
            let error = spot
                .run("a", mode)
                .preview(&[(1, 1, &[])])
                .expect_err("foreign");
            assert_eq!(error.kind(), ErrorKind::Destination, "{error:?}");
        }
        assert!(
            spot.sink(WriteMode::Append)
                .ledger(&dataset("UTC", None))
                .is_err()
        );
    }
}

#[test]
fn an_aborted_run_leaves_nothing_and_a_dead_one_what_the_next_removes() {
    let spot = Spot::new();
    let run = spot.run("a", WriteMode::Append);
    let sink = run.sink();
    let txn = run.write(&sink, &[(1, 2, &[1, 30])]).expect("writes");
    assert_eq!(txn.abort().expect("aborts"), Residue::None);
    assert!(!spot.path.exists());

    let txn = run.write(&sink, &[(1, 2, &[1, 30])]).expect("writes");
    // As when the process is killed: nothing is dropped, and locks are gone.
    let marks: Vec<String> = spot
        .data_files()
        .into_iter()
        .filter(|file| file.ends_with(".run"))
        .collect();
    assert_eq!(marks.len(), 1);
    let mark = spot.path.join(&marks[0]);
    let text = fs::read(&mark).expect("it is there");
    std::mem::forget(txn);
    fs::remove_file(&mark).expect("it is there");
    fs::write(&mark, text).expect("it can be written");

    spot.run("b", WriteMode::Create)
        .fetch(&[(3, 3, &[50])])
        .expect("commits");
    assert_eq!(spot.hours(), [50]);
    let files = spot.data_files();
    assert!(
        files.len() == 1 && files[0].starts_with("date=1970-01-03/"),
        "{files:?}"
    );
}

#[test]
fn files_of_a_dead_run_that_did_commit_stay() {
    let spot = Spot::new();
    spot.run("a", WriteMode::Create)
        .fetch(&[(1, 1, &[1])])
        .expect("commits");
    let file = spot.data_files().remove(0);
    let name = file.rsplit('/').next().expect("a name");
    let mark = name
        .trim_start_matches("mixflow-")
        .rsplit_once('-')
        .expect("a number")
        .0;
    let key = dataset("UTC", None).key();
    fs::create_dir_all(spot.path.join("_mixflow")).expect("a temp folder");
    let text = format!(r#"{{"run_id": "a", "dataset": "{key}"}}"#);
    fs::write(spot.path.join(format!("_mixflow/{mark}.run")), text).expect("a temp folder");
    spot.run("b", WriteMode::Append)
        .fetch(&[(2, 2, &[30])])
        .expect("commits");
    assert_eq!(spot.hours(), [1, 30]);
    assert!(!spot.path.join("_mixflow").exists());
}

#[test]
fn every_tenth_commit_is_a_checkpoint_and_the_ledger_outlives_the_log() {
    let spot = Spot::new();
    let ids: Vec<String> = (0..12).map(|n| format!("run{n}")).collect();
    for (n, id) in (0..).zip(&ids) {
        let mode = if n == 0 {
            WriteMode::Create
        } else {
            WriteMode::Append
        };
        spot.run(id, mode)
            .fetch(&[(n + 1, n + 1, &[i64::from(n) * 24])])
            .expect("commits");
    }
    let log = spot.path.join("_delta_log");
    assert!(log.join("00000000000000000010.checkpoint.parquet").exists());
    for n in 0..10 {
        fs::remove_file(log.join(format!("{n:020}.json"))).expect("it is there");
    }
    assert_eq!(spot.hours().len(), 12);
    assert_eq!(spot.held().len(), 12);
    spot.run("run3", WriteMode::Append)
        .fetch(&[(4, 4, &[72])])
        .expect("it is there");
    assert_eq!(spot.hours().len(), 12);
}
