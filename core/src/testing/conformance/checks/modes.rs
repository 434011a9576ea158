//! What happens to what is there.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use super::super::case::{Case, Checked, difference, expect, expect_ids, well};
use super::super::rows::{
    begin, context, day, id, ids, outcome, schema, store, store_batch, write_day,
};
use super::super::summary::Conformance;
use crate::error::ErrorKind;
use crate::sink::{Residue, WriteMode};

pub(super) fn create_on_existing(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = case.sink(WriteMode::Create) else {
        return Ok(Checked::Skipped);
    };
    well("the first", store(&*sink, 0..3))?;
    drop(sink);
    let before = case.names();
    let Some(sink) = case.sink(WriteMode::Create) else {
        return Err("the mode went away".to_owned());
    };
    let cx = context(schema());
    let previewed = sink.preview(&cx).map(|_| ());
    let begun = begin(&*sink, &cx).map(drop);
    for (what, result) in [("preview", previewed), ("begin", begun)] {
        match result {
            Ok(()) => return Err(format!("{what} says that it can be created again")),
            Err(error) => expect(
                error.kind().class() == ErrorKind::Destination,
                format!(
                    "{what} fails with {:?}, not Destination: {error:?}",
                    error.kind()
                ),
            )?,
        }
    }
    drop(sink);
    expect(
        case.names() == before,
        format!("{:?} is left", case.names()),
    )?;
    expect_ids(case, "afterwards", Some(ids(0..3)))?;
    Ok(Checked::Passed)
}

pub(super) fn append_adds(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = case.sink(WriteMode::Append) else {
        return Ok(Checked::Skipped);
    };
    well("the first", store(&*sink, 0..2))?;
    drop(sink);
    let Some(sink) = case.sink(WriteMode::Append) else {
        return Err("the mode went away".to_owned());
    };
    let summary = well("the second", store(&*sink, 2..5))?;
    expect(
        summary.rows == 3,
        format!(
            "the summary speaks of {} rows, not of the 3 that were added",
            summary.rows
        ),
    )?;
    expect_ids(case, "after both", Some(ids(0..5)))?;
    Ok(Checked::Passed)
}

pub(super) fn two_transactions(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = case.sink(WriteMode::Append) else {
        return Ok(Checked::Skipped);
    };
    well("the first", store(&*sink, 0..2))?;
    well("the second", store(&*sink, 2..4))?;
    let transactional = sink.capabilities().transactional;
    if transactional {
        let mut txn = well("begin", begin(&*sink, &context(schema())))?;
        well("write", write_day(&mut *txn, 0, 4..6))?;
        well("abort", txn.abort())?;
    }
    well("the last", store(&*sink, 6..7))?;
    let expected = ids((0..4).chain(6..7));
    expect_ids(case, "after all", Some(expected))?;
    Ok(Checked::Passed)
}

pub(super) fn other_schema(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = case.sink(WriteMode::Append) else {
        return Ok(Checked::Skipped);
    };
    well("the first", store(&*sink, 0..2))?;
    let column: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![id(9)]));
    let columns = [
        ("event_name", column),
        ("insert_id", names),
        ("other", number),
    ];
    let records = RecordBatch::try_from_iter(columns).map_err(|error| error.to_string())?;
    let mut expected = ids(0..2);
    // Lines of JSON need not be alike. Where rows must be, nothing changes.
    if sink.check_schema(records.schema_ref()).is_ok() && store_batch(&*sink, records).is_ok() {
        expected.push(id(9));
    }
    expect_ids(case, "afterwards", Some(expected))?;
    Ok(Checked::Passed)
}

pub(super) fn replace_swaps(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = case.sink(WriteMode::Replace) else {
        return Ok(Checked::Skipped);
    };
    well("where nothing is", store(&*sink, 0..3))?;
    expect_ids(case, "after the first", Some(ids(0..3)))?;
    let mut txn = well("begin", begin(&*sink, &context(schema())))?;
    well("write", write_day(&mut *txn, 1, 3..5))?;
    let during = case.ids();
    well("commit", txn.commit(&outcome(2)))?;
    // A store that is written may be locked; it may not be half new.
    expect(
        during.is_none() || during == Some(ids(0..3)),
        format!(
            "before the commit {}",
            difference(during.as_deref(), Some(&ids(0..3)))
        ),
    )?;
    expect_ids(case, "after the second", Some(ids(3..5)))?;
    Ok(Checked::Passed)
}

pub(super) fn replace_then_abort(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = case.sink(WriteMode::Replace) else {
        return Ok(Checked::Skipped);
    };
    well("the first", store(&*sink, 0..3))?;
    let mut txn = well("begin", begin(&*sink, &context(schema())))?;
    well("write", write_day(&mut *txn, 0, 3..5))?;
    let residue = well("abort", txn.abort())?;
    expect(residue == Residue::None, format!("abort says {residue:?}"))?;
    expect_ids(case, "after the abort", Some(ids(0..3)))?;
    let mut txn = well("begin", begin(&*sink, &context(schema())))?;
    well("write", write_day(&mut *txn, 0, 3..5))?;
    drop(txn);
    expect_ids(case, "after the drop", Some(ids(0..3)))?;
    Ok(Checked::Passed)
}

pub(super) fn replace_by_nothing(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = case.sink(WriteMode::Replace) else {
        return Ok(Checked::Skipped);
    };
    if !case.under_test.guards_replace() {
        return Ok(Checked::Skipped);
    }
    well("the first", store(&*sink, 0..30))?;
    for rows in [0, 14] {
        let mut txn = well("begin", begin(&*sink, &context(schema())))?;
        well("write", write_day(&mut *txn, 0, 30..30 + rows))?;
        let Err(error) = txn.commit(&outcome(rows as u64)) else {
            return Err(format!("30 rows were replaced by {rows}"));
        };
        expect(
            error.kind() == ErrorKind::Data,
            format!("to replace 30 rows by {rows} is of the wrong kind: {error:?}"),
        )?;
        expect_ids(case, "after the refusal", Some(ids(0..30)))?;
    }
    well("by half", store(&*sink, 30..45))?;
    expect_ids(case, "after the second", Some(ids(30..45)))?;
    Ok(Checked::Passed)
}

pub(super) fn replace_window(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = case.sink(WriteMode::ReplaceWindow) else {
        return Ok(Checked::Skipped);
    };
    expect(
        sink.capabilities().replaces_days,
        "the capabilities do not say that it replaces days",
    )?;
    let begun = || well("begin", begin(&*sink, &context(schema())));
    let mut txn = begun()?;
    for n in 0..3 {
        well("write", write_day(&mut *txn, n, n * 10..n * 10 + 4))?;
    }
    well("commit", txn.commit(&outcome(12)))?;
    let all = ids((0..4).chain(10..14).chain(20..24));
    expect_ids(case, "after the first", Some(all.clone()))?;
    let mut txn = begun()?;
    well("write", write_day(&mut *txn, 1, 30..35))?;
    well("abort", txn.abort())?;
    expect_ids(case, "after an abort", Some(all))?;
    let mut txn = begun()?;
    well("write", write_day(&mut *txn, 1, 30..35))?;
    well("a day without rows", txn.partition(&day(2)))?;
    well("commit", txn.commit(&outcome(5)))?;
    let replaced = ids((0..4).chain(30..35));
    expect_ids(case, "after two of three days", Some(replaced.clone()))?;
    let mut txn = begun()?;
    well("write", write_day(&mut *txn, 4, 50..52))?;
    well("commit", txn.commit(&outcome(2)))?;
    let added = [replaced, ids(50..52)].concat();
    expect_ids(case, "after a day that was not there", Some(added))?;
    Ok(Checked::Passed)
}
