//! The checks, one promise each.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::rows::{
    batch, begin, context, day, id, ids, other_batch, outcome, schema, store, store_batch, write,
    write_day,
};
use super::values::{self, Typed};
use super::{Case, Checked, Conformance};
use crate::error::{Error, ErrorKind};
use crate::sink::{DataKind, Outcome, Residue, Sink, WriteMode};

type Check = fn(&Case<'_>, &mut Conformance) -> Result<Checked, String>;

pub(super) const ALL: [(&str, Check); 23] = [
    (
        "building and checking touch nothing",
        building_touches_nothing,
    ),
    ("preview changes nothing", preview_changes_nothing),
    ("begin, then drop", begin_then_drop),
    ("write, then drop", write_then_drop),
    ("abort tells its residue truly", abort_tells_its_residue),
    ("commit makes rows visible", commit_makes_rows_visible),
    ("commit without a batch", commit_without_a_batch),
    (
        "commit of a run that lacks something",
        commit_of_a_partial_run,
    ),
    ("a failed write, then commit", failed_write_then_commit),
    ("a batch before its partition", batch_before_its_partition),
    ("partitions that interleave", interleaved_partitions),
    ("many batches", many_batches),
    ("create on something that is there", create_on_existing),
    ("append adds", append_adds),
    ("two transactions in a row", two_transactions),
    ("a schema that differs from what is there", other_schema),
    ("replace swaps everything", replace_swaps),
    ("replace, then abort", replace_then_abort),
    ("replace by nothing", replace_by_nothing),
    ("replace_window replaces days only", replace_window),
    ("a place that cannot be written", unwritable_place),
    ("names and texts of all sorts", odd_texts),
    ("every scalar type", every_type),
];

/// Passes an unexpected error on with what was tried.
fn well<T>(what: &str, result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error:?}"))
}

fn expect(holds: bool, breach: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(breach.into()) }
}

fn expect_ids(case: &Case<'_>, when: &str, expected: Option<Vec<String>>) -> Result<(), String> {
    let found = case.ids();
    expect(
        found == expected,
        format!("{when} the rows are {found:?}, not {expected:?}"),
    )
}

/// Returns what is visible of a sink that has shown nothing.
fn nothing(case: &Case<'_>) -> Result<(), String> {
    let found = case.ids().unwrap_or_default();
    expect(found.is_empty(), format!("the rows {found:?} are visible"))
}

fn building_touches_nothing(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn preview_changes_nothing(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn begin_then_drop(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn write_then_drop(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn transactional(case: &Case<'_>) -> Option<Box<dyn Sink>> {
    case.any_sink()
        .filter(|sink| sink.capabilities().transactional)
}

fn abort_tells_its_residue(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn commit_makes_rows_visible(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn commit_without_a_batch(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn commit_of_a_partial_run(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    let mut txn = well("begin", begin(&*sink, &context(schema())))?;
    well("write", write_day(&mut *txn, 0, 0..2))?;
    let missing = [(day(1), "the server answered 500".to_owned())];
    let outcome = Outcome {
        missing: &missing,
        rows: 2,
    };
    well("commit", txn.commit(&outcome))?;
    expect_ids(case, "after commit", Some(ids(0..2)))?;
    Ok(Checked::Passed)
}

fn failed_write_then_commit(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn batch_before_its_partition(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn interleaved_partitions(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn many_batches(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn create_on_existing(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn append_adds(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn two_transactions(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn other_schema(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn replace_swaps(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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
        format!("before the commit the rows are {during:?}"),
    )?;
    expect_ids(case, "after the second", Some(ids(3..5)))?;
    Ok(Checked::Passed)
}

fn replace_then_abort(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn replace_by_nothing(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

fn replace_window(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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

/// A place below a file, which not even root can write.
fn unwritable_place(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let file = case.folder.path().join("file");
    std::fs::write(&file, "in the way").map_err(|error| error.to_string())?;
    let place = file.join("target");
    let modes = [WriteMode::Create, WriteMode::Append, WriteMode::Replace];
    let mut tried = false;
    for mode in modes {
        let Some(sink) = case.under_test.sink(&place, mode) else {
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

/// Returns events with further columns.
fn with_columns(columns: &[&Typed]) -> Result<RecordBatch, String> {
    let events = batch(0, 0..3);
    let mut fields = schema().fields().to_vec();
    let mut arrays = events.columns().to_vec();
    for column in columns {
        fields.push(Arc::new(column.field.clone()));
        arrays.push(Arc::clone(&column.values));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|error| error.to_string())
}

fn odd_texts(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    const NAME: &str = "größe \"x\", 'y'; z";
    let texts = [
        Some("a,\"b\"\n\\c"),
        None,
        Some(""),
        Some("\u{0}☃😀 "),
        Some("NULL"),
    ];
    let mut fields = schema().fields().to_vec();
    fields.push(Arc::new(Field::new(NAME, DataType::Utf8, true)));
    let mut arrays = batch(0, 0..5).columns().to_vec();
    arrays.push(Arc::new(StringArray::from(texts.to_vec())));
    let records = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays);
    let records = records.map_err(|error| error.to_string())?;
    if let Err(error) = sink.check_schema(records.schema_ref()) {
        return expect(
            error.kind() == ErrorKind::Config,
            format!("check_schema: {error:?}"),
        )
        .map(|()| Checked::Passed);
    }
    well("store", store_batch(&*sink, records))?;
    let mut rows = case.rows().unwrap_or_default();
    rows.sort_by(|a, b| a.get("insert_id").cmp(&b.get("insert_id")));
    expect(
        rows.len() == texts.len(),
        format!("{} rows came back", rows.len()),
    )?;
    for (row, expected) in rows.iter().zip(texts) {
        let Some(found) = row.get(NAME) else {
            return Err(format!("there is no column {NAME}: {row:?}"));
        };
        expect(
            same(case, found.as_deref(), expected),
            format!("{expected:?} came back as {found:?}"),
        )?;
    }
    Ok(Checked::Passed)
}

fn same(case: &Case<'_>, found: Option<&str>, expected: Option<&str>) -> bool {
    let is_nothing = |text: Option<&str>| text.unwrap_or_default().is_empty();
    found == expected
        || (!case.under_test.keeps_nulls() && is_nothing(found) && is_nothing(expected))
}

fn every_type(case: &Case<'_>, report: &mut Conformance) -> Result<Checked, String> {
    let Some(sink) = case.any_sink() else {
        return Ok(Checked::Skipped);
    };
    let all = values::all();
    let mut taken = Vec::new();
    for typed in &all {
        match sink.check_schema(with_columns(&[typed])?.schema_ref()) {
            Ok(()) => taken.push(typed),
            Err(error) => {
                expect(
                    error.kind() == ErrorKind::Config,
                    format!("check_schema fails with {:?}: {error:?}", error.kind()),
                )?;
                report.refused_types.push(typed.field.name().clone());
            }
        }
    }
    well("store", store_batch(&*sink, with_columns(&taken)?))?;
    let mut rows = case.rows().unwrap_or_default();
    rows.sort_by(|a, b| a.get("insert_id").cmp(&b.get("insert_id")));
    expect(rows.len() == 3, format!("{} rows came back", rows.len()))?;
    for typed in taken {
        let name = typed.field.name();
        for (n, row) in rows.iter().enumerate() {
            let Some(found) = row.get(name) else {
                return Err(format!("there is no column {name}: {row:?}"));
            };
            let is_null = n == 1;
            let is_right = match found {
                None => is_null || same(case, None, Some(typed.expected(n))),
                Some(found) if is_null => same(case, Some(found), None),
                Some(found) => typed.is(n, found),
            };
            let expected = typed.expected(n);
            expect(
                is_right,
                format!("{name}: {found:?} came back for {expected:?} (null: {is_null})"),
            )?;
        }
    }
    Ok(Checked::Passed)
}
