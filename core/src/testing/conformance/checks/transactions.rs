//! What a transaction does from begin to its end.

use super::super::case::{Case, Checked, expect, expect_ids, nothing, transactional, well};
use super::super::rows::{
    batch, begin, context, day, ids, other_batch, outcome, schema, store, write, write_day,
};
use super::super::summary::Conformance;
use crate::error::ErrorKind;
use crate::sink::{DataKind, Outcome, Residue, WriteMode};

pub(super) fn building_touches_nothing(
    case: &Case<'_>,
    _: &mut Conformance,
) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    well("check_schema", sink.check_schema(&schema()))?;
    expect(
        !sink.destination(&DataKind::Events).uri.is_empty(),
        "the destination has no name",
    )?;
    expect(
        sink.capabilities() == sink.capabilities(),
        "the capabilities change",
    )?;
    expect(
        case.names().is_empty(),
        format!("{:?} was made", case.names()),
    )?;
    Ok(Checked::Passed)
}

pub(super) fn preview_changes_nothing(
    case: &Case<'_>,
    _: &mut Conformance,
) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    let preview = well("preview", sink.preview(&context(schema())))?;
    expect(!preview.actions.is_empty(), "it says nothing")?;
    expect(
        case.names().is_empty(),
        format!("{:?} was made", case.names()),
    )?;
    well("preview, again", sink.preview(&context(schema())))?;
    Ok(Checked::Passed)
}

pub(super) fn begin_then_drop(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    drop(well("begin", begin(&*sink, &context(schema())))?);
    nothing(case)?;
    let transactional = sink.capabilities().transactional;
    drop(sink);
    expect(
        !transactional || case.names().is_empty(),
        format!("{:?} is left", case.names()),
    )?;
    Ok(Checked::Passed)
}

pub(super) fn write_then_drop(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = transactional(case) else {
        return Ok(Checked::Skipped);
    };
    let mut txn = well("begin", begin(&*sink, &context(schema())))?;
    well("write", write_day(&mut *txn, 0, 0..3))?;
    nothing(case)?;
    drop(txn);
    nothing(case)?;
    drop(sink);
    expect(
        case.names().is_empty(),
        format!("{:?} is left", case.names()),
    )?;
    Ok(Checked::Passed)
}

pub(super) fn abort_tells_its_residue(
    case: &Case<'_>,
    _: &mut Conformance,
) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    for rows in [0, 3] {
        let mut txn = well("begin", begin(&*sink, &context(schema())))?;
        if rows > 0 {
            well("write", write_day(&mut *txn, 0, 0..rows))?;
        }
        let residue = well("abort", txn.abort())?;
        let visible = case.ids().unwrap_or_default().len() as u64;
        let told = match residue {
            Residue::None => visible == 0,
            Residue::Rows(told) => told == visible,
            Residue::Unknown => true,
        };
        expect(
            told,
            format!("{visible} rows are visible, and abort says {residue:?}"),
        )?;
        expect(
            !sink.capabilities().transactional || visible == 0,
            format!("{visible} rows of a transaction are visible after its abort"),
        )?;
    }
    Ok(Checked::Passed)
}

pub(super) fn commit_makes_rows_visible(
    case: &Case<'_>,
    _: &mut Conformance,
) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    let summary = well("store", store(&*sink, 0..3))?;
    expect(
        summary.rows == 3,
        format!("the summary speaks of {} rows, not 3", summary.rows),
    )?;
    expect(
        !summary.destination.is_empty(),
        "the summary has no destination",
    )?;
    expect(
        summary.warnings.is_empty(),
        format!("it warns: {:?}", summary.warnings),
    )?;
    expect_ids(case, "after commit", Some(ids(0..3)))?;
    let rows = case.rows().unwrap_or_default();
    let columns = [
        "event_name",
        "event_time",
        "distinct_id",
        "insert_id",
        "properties",
    ];
    for row in &rows {
        let missing = columns
            .iter()
            .find(|name| row.get(**name).is_none_or(Option::is_none));
        expect(
            missing.is_none(),
            format!("a row lacks {missing:?}: {row:?}"),
        )?;
    }
    Ok(Checked::Passed)
}

pub(super) fn commit_without_a_batch(
    case: &Case<'_>,
    _: &mut Conformance,
) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    let mut txn = well("begin", begin(&*sink, &context(schema())))?;
    well("partition", txn.partition(&day(0)))?;
    let summary = well("commit", txn.commit(&outcome(0)))?;
    expect(
        summary.rows == 0,
        format!("it speaks of {} rows", summary.rows),
    )?;
    if sink.capabilities().transactional {
        expect_ids(case, "after commit", Some(Vec::new()))?;
    } else {
        nothing(case)?;
    }
    Ok(Checked::Passed)
}

pub(super) fn commit_of_a_partial_run(
    case: &Case<'_>,
    _: &mut Conformance,
) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    let mut txn = well("begin", begin(&*sink, &context(schema())))?;
    well("write", write_day(&mut *txn, 0, 0..2))?;
    let missing = [(day(1), "the server answered 500".to_owned())];
    let outcome = Outcome {
        missing: &missing,
        rows: 2,
        units: &[],
    };
    well("commit", txn.commit(&outcome))?;
    expect_ids(case, "after commit", Some(ids(0..2)))?;
    Ok(Checked::Passed)
}

pub(super) fn failed_write_then_commit(
    case: &Case<'_>,
    _: &mut Conformance,
) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    let mut txn = well("begin", begin(&*sink, &context(schema())))?;
    well("partition", txn.partition(&day(0)))?;
    let refused = write(&mut *txn, 0, other_batch()).is_err();
    expect(refused, "a batch of another schema was taken")?;
    let refused = write(&mut *txn, 0, batch(0, 0..2)).is_err();
    expect(refused, "a batch was taken after a write that failed")?;
    let refused = txn.commit(&outcome(0)).is_err();
    expect(refused, "a commit was taken after a write that failed")?;
    nothing(case)?;
    Ok(Checked::Passed)
}

pub(super) fn batch_before_its_partition(
    case: &Case<'_>,
    _: &mut Conformance,
) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    let mut txn = well("begin", begin(&*sink, &context(schema())))?;
    well("partition", txn.partition(&day(0)))?;
    let refused = write(&mut *txn, 1, batch(1, 0..1)).is_err();
    expect(
        refused,
        "a batch of a partition that was not announced was taken",
    )?;
    drop(txn);
    nothing(case)?;
    Ok(Checked::Passed)
}

pub(super) fn interleaved_partitions(
    case: &Case<'_>,
    _: &mut Conformance,
) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    let mut txn = well("begin", begin(&*sink, &context(schema())))?;
    well("partition", txn.partition(&day(0)))?;
    well("write", write(&mut *txn, 0, batch(0, 0..2)))?;
    well("partition", txn.partition(&day(1)))?;
    well("write", write(&mut *txn, 1, batch(1, 2..4)))?;
    well("write", write(&mut *txn, 0, batch(0, 4..6)))?;
    well("partition without rows", txn.partition(&day(2)))?;
    well("write", write(&mut *txn, 1, batch(1, 6..8)))?;
    well("commit", txn.commit(&outcome(8)))?;
    expect_ids(case, "after commit", Some(ids(0..8)))?;
    Ok(Checked::Passed)
}

pub(super) fn many_batches(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    let mut txn = well("begin", begin(&*sink, &context(schema())))?;
    well("partition", txn.partition(&day(0)))?;
    for n in 0..20 {
        well(
            "write",
            write(&mut *txn, 0, batch(0, n * 500..n * 500 + 500)),
        )?;
    }
    well("commit", txn.commit(&outcome(10_000)))?;
    expect_ids(case, "after commit", Some(ids(0..10_000)))?;
    Ok(Checked::Passed)
}

/// A place below a file, which not even root can write, or what the sink's tests say.
pub(super) fn unwritable_place(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let file = case.folder.path().join("file");
    std::fs::write(&file, "in the way").map_err(|error| error.to_string())?;
    let place = file.join("target");
    let modes = [WriteMode::Create, WriteMode::Append, WriteMode::Replace];
    let mut tried = false;
    for mode in modes {
        let Some(sink) = case.under_test.unwritable(&place, mode) else {
            continue;
        };
        // A stream goes elsewhere.
        if !sink.capabilities().transactional {
            continue;
        }
        tried = true;
        let cx = context(schema());
        let previewed = sink.preview(&cx).map(|_| ());
        let begun = begin(&*sink, &cx).map(drop);
        for (what, result) in [("preview", previewed), ("begin", begun)] {
            match result {
                Ok(()) => return Err(format!("{what} says that it can be written")),
                Err(error) => expect(
                    matches!(error.kind().class(), ErrorKind::Destination | ErrorKind::Io),
                    format!("{what} fails with {:?}: {error:?}", error.kind()),
                )?,
            }
        }
    }
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    expect(text == "in the way", "the file was changed")?;
    Ok(if tried {
        Checked::Passed
    } else {
        Checked::Skipped
    })
}
