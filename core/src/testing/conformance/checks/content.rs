//! What comes back of texts and values.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::super::case::{Case, Checked, expect, same, well};
use super::super::rows::{batch, schema, store_batch};
use super::super::summary::Conformance;
use super::super::values::{self, Typed};
use crate::error::ErrorKind;

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

pub(super) fn odd_texts(case: &Case<'_>, _: &mut Conformance) -> Result<Checked, String> {
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
    for (row, text) in rows.iter().zip(texts) {
        let mended = text.map(|text| text.replace('\0', "\u{fffd}"));
        let expected = match case.under_test.holds_nul() {
            true => text,
            false => mended.as_deref(),
        };
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

pub(super) fn every_type(case: &Case<'_>, report: &mut Conformance) -> Result<Checked, String> {
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
