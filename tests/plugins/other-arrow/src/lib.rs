//! A sink that is built with another major of Arrow, by hand, without
//! `export_sink!`: `tests/boundary.sh` loads it.
//!
//! It writes the texts and times of each row to the file `other-arrow.txt`.

use std::ffi::c_void;
use std::fmt::Write as _;
use std::ptr;

use arrow::array::{Array, AsArray, StructArray, make_array};
use arrow::datatypes::{DataType, Schema, TimestampMicrosecondType};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use mixflow_sink_abi::raw::{
    ArrowArray, ArrowSchema, FAILED, Failure, Host, MAGIC, OK, SinkPtr, Str, Table, Text, TxnPtr,
    VERSION, Version,
};

const FILE: &str = "other-arrow.txt";

struct Txn {
    row: DataType,
    lines: String,
    rows: usize,
}

/// Lends a literal; there is nothing to release.
fn literal(text: &'static str) -> Text {
    Text {
        ptr: text.as_ptr(),
        len: text.len(),
        ..Text::empty()
    }
}

fn fail(failure: *mut Failure, why: &'static str) -> i32 {
    // SAFETY: the host's place for a failure, which is empty.
    unsafe { (*failure).message = literal(why) };
    FAILED
}

unsafe extern "C" fn open(
    _: *const Host,
    _: Str,
    sink: *mut SinkPtr,
    _: *mut Failure,
) -> i32 {
    static SINK: u8 = 0;
    // SAFETY: the host's place for a sink.
    unsafe { *sink = ptr::from_ref(&SINK).cast_mut().cast::<c_void>() };
    OK
}

unsafe extern "C" fn close(_: SinkPtr) {}

unsafe extern "C" fn describe(_: SinkPtr, text: *mut Text, _: *mut Failure) -> i32 {
    // SAFETY: the host's place for a text.
    unsafe { *text = literal(r#"{"transactional":true,"destination":"other-arrow.txt"}"#) };
    OK
}

unsafe extern "C" fn check_schema(
    _: SinkPtr,
    schema: *const ArrowSchema,
    failure: *mut Failure,
) -> i32 {
    // SAFETY: the host's schema; the C data interface is the same in both.
    match Schema::try_from(unsafe { &*schema.cast::<FFI_ArrowSchema>() }) {
        Ok(schema) if schema.fields().len() == 5 => OK,
        _ => fail(failure, "this is for events"),
    }
}

unsafe extern "C" fn preview(
    _: SinkPtr,
    _: Str,
    _: *const ArrowSchema,
    text: *mut Text,
    _: *mut Failure,
) -> i32 {
    // SAFETY: the host's place for a text.
    unsafe { *text = literal(r#"{"actions":["writes other-arrow.txt"]}"#) };
    OK
}

unsafe extern "C" fn begin(
    _: SinkPtr,
    _: Str,
    schema: *const ArrowSchema,
    txn: *mut TxnPtr,
    failure: *mut Failure,
) -> i32 {
    // SAFETY: the host's schema.
    let Ok(schema) = Schema::try_from(unsafe { &*schema.cast::<FFI_ArrowSchema>() }) else {
        return fail(failure, "the schema cannot be read");
    };
    let begun = Box::new(Txn {
        row: DataType::Struct(schema.fields().clone()),
        lines: String::new(),
        rows: 0,
    });
    // SAFETY: the host's place for a transaction.
    unsafe { *txn = Box::into_raw(begun).cast::<c_void>() };
    OK
}

unsafe extern "C" fn partition(_: TxnPtr, _: Str, _: *mut Failure) -> i32 {
    OK
}

unsafe extern "C" fn write(
    txn: TxnPtr,
    _: u32,
    array: *mut ArrowArray,
    failure: *mut Failure,
) -> i32 {
    // SAFETY: the transaction of `begin`; the array is ours from here on.
    let (txn, array) = unsafe {
        (
            &mut *txn.cast::<Txn>(),
            FFI_ArrowArray::from_raw(array.cast::<FFI_ArrowArray>()),
        )
    };
    // SAFETY: the host keeps to the schema of `begin`.
    let Ok(data) = (unsafe { from_ffi_and_data_type(array, txn.row.clone()) }) else {
        return fail(failure, "the batch cannot be read");
    };
    if data.validate_full().is_err() {
        return fail(failure, "the batch is not valid");
    }
    let rows = StructArray::from(make_array(data).to_data());
    let names = rows.column(0).as_string::<i32>();
    let times = rows.column(1).as_primitive::<TimestampMicrosecondType>();
    let ids = rows.column(3).as_string::<i32>();
    for row in 0..rows.len() {
        let (name, time, id) = (names.value(row), times.value(row), ids.value(row));
        let _ = writeln!(txn.lines, "{name}\t{time}\t{id}");
    }
    txn.rows += rows.len();
    OK
}

unsafe extern "C" fn release(text: *mut Text) {
    // SAFETY: the text of `commit`, once.
    unsafe { drop(Box::from_raw((*text).owner.cast::<String>())) };
}

unsafe extern "C" fn commit(
    txn: TxnPtr,
    _: Str,
    text: *mut Text,
    failure: *mut Failure,
) -> i32 {
    // SAFETY: the transaction of `begin`, which has ended by this.
    let txn = unsafe { Box::from_raw(txn.cast::<Txn>()) };
    if std::fs::write(FILE, &txn.lines).is_err() {
        return fail(failure, "cannot write other-arrow.txt");
    }
    let rows = txn.rows;
    let json = Box::new(format!(r#"{{"rows":{rows},"destination":"{FILE}"}}"#));
    let (ptr, len) = (json.as_ptr(), json.len());
    let owner = Box::into_raw(json).cast::<c_void>();
    // SAFETY: the host's place for a text.
    unsafe {
        *text = Text {
            ptr,
            len,
            owner,
            release: Some(release),
        };
    }
    OK
}

unsafe extern "C" fn abort(txn: TxnPtr, text: *mut Text, _: *mut Failure) -> i32 {
    // SAFETY: the transaction of `begin`, and the host's place for a text.
    unsafe {
        discard(txn);
        *text = literal(r#""none""#);
    }
    OK
}

unsafe extern "C" fn discard(txn: TxnPtr) {
    // SAFETY: the transaction of `begin`, which has ended by this.
    drop(unsafe { Box::from_raw(txn.cast::<Txn>()) });
}

#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static mixflow_sink_abi_version: Version = VERSION;

#[unsafe(no_mangle)]
pub extern "C" fn mixflow_sink_table() -> *const Table {
    static TABLE: Table = Table {
        magic: MAGIC,
        version: VERSION,
        size: size_of::<Table>(),
        name: Str {
            ptr: b"other_arrow".as_ptr(),
            len: 11,
        },
        open: Some(open),
        close: Some(close),
        describe: Some(describe),
        check_schema: Some(check_schema),
        preview: Some(preview),
        begin: Some(begin),
        partition: Some(partition),
        write: Some(write),
        commit: Some(commit),
        abort: Some(abort),
        discard: Some(discard),
        set_mode: None,
        options: None,
        set_cancel: None,
    };
    &TABLE
}
