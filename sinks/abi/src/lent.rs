//! What the host lends to a call, and places for what it is given.

use std::sync::Arc;

use arrow::array::{Array as _, StructArray, make_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use mixflow_core::{Error, ErrorKind, Result};

use crate::raw::{ArrowArray, ArrowSchema, Str, Text};
use crate::shape;

/// Borrows a document.
///
/// # Safety
///
/// As for [`Str::get`].
pub(crate) unsafe fn borrowed<'s>(what: &str, text: Str) -> Result<&'s str> {
    // SAFETY: by this function's contract.
    unsafe { text.get() }.map_err(|error| {
        Error::new(ErrorKind::Other, format!("{what} is not UTF-8")).with_source(error)
    })
}

/// Borrows the schema of the host.
///
/// # Safety
///
/// `schema` is null, or points to a schema of the C data interface.
pub(crate) unsafe fn schema_of(schema: *const ArrowSchema) -> Result<SchemaRef> {
    // SAFETY: by this function's contract; arrow's struct has the same layout,
    // which the C data interface fixes.
    let schema = unsafe { schema.cast::<FFI_ArrowSchema>().as_ref() };
    let schema = schema.ok_or_else(|| Error::new(ErrorKind::Other, "there is no schema"))?;
    Ok(Arc::new(Schema::try_from(schema)?))
}

/// Gives the host a value.
pub(crate) fn give<T: Copy>(place: *mut T, value: T) -> Result<()> {
    if place.is_null() {
        Err(Error::new(
            ErrorKind::Other,
            "there is no place for the answer",
        ))
    } else {
        // SAFETY: it is not null, and by the rules of `raw` it is a place
        // for one `T`. `T` is `Copy`, so nothing in it has to be dropped.
        unsafe { place.write(value) };
        Ok(())
    }
}

/// Gives the host a text, which is its own from then on.
pub(crate) fn give_text(place: *mut Text, text: String) -> Result<()> {
    if place.is_null() {
        Err(Error::new(
            ErrorKind::Other,
            "there is no place for the answer",
        ))
    } else {
        // SAFETY: as in `give`; what was there is empty.
        unsafe { place.write(Text::new(text)) };
        Ok(())
    }
}

/// Takes over an array.
///
/// # Safety
///
/// `array` is null, or points to an array of the C data interface.
pub(crate) unsafe fn import(
    array: *mut ArrowArray,
    row: &DataType,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    if array.is_null() {
        return Err(nothing());
    }
    // SAFETY: by this function's contract; arrow's struct has the same layout.
    // What is moved out here is released when it is dropped, also after an error.
    let owned = unsafe { FFI_ArrowArray::from_raw(array.cast::<FFI_ArrowArray>()) };
    // SAFETY: it is an array by this function's contract.
    unsafe { shape::check((&raw const owned).cast::<ArrowArray>(), row)? };
    // SAFETY: its shape is that of `row`, all the way down.
    let data = unsafe { from_ffi_and_data_type(owned, row.clone())? };
    // Offsets within their buffers; constant time. Whether texts are UTF-8 is
    // the host's word: to look costs 5 % of writing CSV.
    data.validate()?;
    let rows = StructArray::from(make_array(data).to_data());
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let columns = rows.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// Returns the error of a call that lacks what it needs.
pub(crate) fn nothing() -> Error {
    Error::new(ErrorKind::Other, "this call came without what it is about")
}
