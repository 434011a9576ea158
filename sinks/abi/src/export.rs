//! From a [`Sink`] to a table of C functions.
//!
//! Every function catches panics. Only the transaction in which one happened
//! is lost by it: the next call of that transaction is refused.

use std::any::Any;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{Array as _, StructArray, make_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi_and_data_type};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use mixflow_core::batch::{Batch, PartitionId};
use mixflow_core::config::Invalid;
use mixflow_core::sink::{Guarded, Outcome, Sink, SinkTxn, TxnContext};
use mixflow_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;

use crate::raw::{
    ArrowArray, ArrowSchema, FAILED, Failure, Host, IN_DOUBT, MAGIC, OK, SinkPtr, Str, Table, Text,
    TxnPtr, VERSION,
};
use crate::wire::{
    ContextDoc, DescriptionDoc, InvalidDoc, OutcomeDoc, PartitionDoc, PreviewDoc, ResidueDoc,
    SummaryDoc, mode_of, number_of, read, write,
};
use crate::{forward, options, shape};

/// What [`export_sink!`](crate::export_sink) makes of its arguments.
pub trait Plugin {
    /// What the sink is called.
    const NAME: &'static str;

    /// The crate of the author, as `log` names it.
    const CRATE: &'static str;

    /// The options, as serde reads them.
    type Config: DeserializeOwned;

    /// Makes a sink of its options. Makes no I/O.
    fn make(config: Self::Config) -> Result<Box<dyn Sink>, Vec<Invalid>>;
}

/// Returns the table of `P`.
pub const fn table<P: Plugin>() -> Table {
    Table {
        magic: MAGIC,
        version: VERSION,
        size: size_of::<Table>(),
        name: Str::of(P::NAME),
        open: Some(open::<P>),
        close: Some(close),
        describe: Some(describe),
        check_schema: Some(check_schema),
        preview: Some(preview),
        begin: Some(begin),
        partition: Some(partition),
        write: Some(write_batch),
        commit: Some(commit),
        abort: Some(abort),
        discard: Some(discard),
        set_mode: Some(set_mode),
    }
}

/// A sink behind a [`SinkPtr`], which is an `Rc` of it.
struct Opened {
    sink: Box<dyn Sink>,
}

/// A transaction behind a [`TxnPtr`], which is a `Box` of it.
struct Begun {
    // Before `_opened`, because it is dropped before what it borrows from.
    txn: Box<Guarded<'static>>,
    schema: SchemaRef,
    row: DataType,
    _opened: Rc<Opened>,
}

/// Runs `call`; what goes wrong, panics included, goes into `failure`.
///
/// # Safety
///
/// `failure` is null, or may be written to.
unsafe fn answer(failure: *mut Failure, what: &str, call: impl FnOnce() -> Result<()>) -> i32 {
    let filled = catch_unwind(AssertUnwindSafe(|| match call() {
        Ok(()) => Ok(()),
        // In here, because an author's `Display` may panic, too.
        Err(error) => Err(Failure::of(&error)),
    }));
    let filled = filled.unwrap_or_else(|payload| Err(Failure::of(&panicked(what, payload))));
    match filled {
        Ok(()) => OK,
        Err(reason) => {
            // SAFETY: by this function's contract.
            unsafe { tell(failure, reason) };
            FAILED
        }
    }
}

/// Tells the host why a call failed, if it wants to know.
///
/// # Safety
///
/// As for [`answer`].
unsafe fn tell(failure: *mut Failure, mut reason: Failure) {
    if failure.is_null() {
        // SAFETY: these texts were made here.
        unsafe {
            reason.message.take();
            reason.hint.take();
            reason.invalid.take();
        }
    } else {
        // SAFETY: by this function's contract. What was there is empty, so
        // nothing is lost by not dropping it.
        unsafe { failure.write(reason) };
    }
}

fn panicked(what: &str, payload: Box<dyn Any + Send>) -> Error {
    let error = Error::panicked(&format!("`{what}`"), &*payload);
    // Dropping it may panic, too, and so on; the second one is better lost
    // than the process.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    error
}

impl Failure {
    /// Returns what crosses of an error.
    pub fn of(error: &Error) -> Failure {
        let mut lines = vec![error.message().to_owned()];
        lines.extend(error.causes());
        let lines: Vec<String> = lines.iter().map(|line| line.replace('\n', " ")).collect();
        Failure {
            kind: number_of(error.kind()),
            flags: if error.is_in_doubt() { IN_DOUBT } else { 0 },
            message: Text::new(lines.join("\n")),
            hint: match error.hint_text() {
                Some(hint) => Text::new(hint.to_owned()),
                None => Text::empty(),
            },
            invalid: Text::empty(),
        }
    }

    fn of_options(wrong: Vec<Invalid>) -> Failure {
        let wrong: Vec<InvalidDoc> = wrong
            .into_iter()
            .map(|Invalid { key, message }| InvalidDoc { key, message })
            .collect();
        Failure {
            invalid: Text::new(write(&wrong)),
            ..Failure::of(&Error::new(ErrorKind::Config, "the options are wrong"))
        }
    }
}

/// Borrows a document.
///
/// # Safety
///
/// As for [`Str::get`].
unsafe fn borrowed<'s>(what: &str, text: Str) -> Result<&'s str> {
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
unsafe fn schema_of(schema: *const ArrowSchema) -> Result<SchemaRef> {
    // SAFETY: by this function's contract; arrow's struct has the same layout,
    // which the C data interface fixes.
    let schema = unsafe { schema.cast::<FFI_ArrowSchema>().as_ref() };
    let schema = schema.ok_or_else(|| Error::new(ErrorKind::Other, "there is no schema"))?;
    Ok(Arc::new(Schema::try_from(schema)?))
}

fn give<T: Copy>(place: *mut T, value: T) -> Result<()> {
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

fn give_text(place: *mut Text, text: String) -> Result<()> {
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

/// # Safety
///
/// `sink` is what [`open`] gave, and was not closed.
unsafe fn opened<'s>(sink: SinkPtr) -> Result<&'s Opened> {
    // SAFETY: by this function's contract it is null or points into an `Rc`
    // that is alive.
    unsafe { sink.cast::<Opened>().cast_const().as_ref() }.ok_or_else(nothing)
}

/// # Safety
///
/// `txn` is what [`begin`] gave and has not ended, and nobody else uses it.
unsafe fn begun<'t>(txn: TxnPtr) -> Result<&'t mut Begun> {
    // SAFETY: by this function's contract it is null or points into a box.
    unsafe { txn.cast::<Begun>().as_mut() }.ok_or_else(nothing)
}

/// # Safety
///
/// As for [`begun`]; it has ended by this.
unsafe fn ended(txn: TxnPtr) -> Result<Box<Begun>> {
    if txn.is_null() {
        return Err(nothing());
    }
    // SAFETY: by this function's contract it came from a box, and is used for
    // the last time.
    Ok(unsafe { Box::from_raw(txn.cast::<Begun>()) })
}

fn nothing() -> Error {
    Error::new(ErrorKind::Other, "this call came without what it is about")
}

unsafe extern "C" fn open<P: Plugin>(
    host: *const Host,
    options: Str,
    sink: *mut SinkPtr,
    failure: *mut Failure,
) -> i32 {
    let mut wrong = None;
    let call = || {
        // SAFETY: a host lends itself for the life of the process.
        unsafe { forward::install(host, P::CRATE, P::NAME) };
        // SAFETY: lent for this call.
        let options = unsafe { borrowed("the options", options)? };
        let options = read("the options", options)?;
        let made = options::read::<P::Config>(options).and_then(P::make);
        match made {
            Ok(made) => {
                let opened = Rc::new(Opened { sink: made });
                give(sink, Rc::into_raw(opened).cast_mut().cast::<c_void>())
            }
            Err(problems) => {
                wrong = Some(problems);
                Ok(())
            }
        }
    };
    // SAFETY: the host's place for a failure.
    let code = unsafe { answer(failure, "open", call) };
    match wrong {
        Some(problems) => {
            // SAFETY: the host's place for a failure, which `answer` has left
            // as it was.
            unsafe { tell(failure, Failure::of_options(problems)) };
            FAILED
        }
        None => code,
    }
}

unsafe extern "C" fn close(sink: SinkPtr) {
    quietly("close", || {
        if !sink.is_null() {
            // SAFETY: `open` gave it, and it is used for the last time.
            // Transactions that are still there keep the sink.
            drop(unsafe { Rc::from_raw(sink.cast::<Opened>().cast_const()) });
        }
    });
}

/// Runs what has no way to fail.
fn quietly(what: &str, call: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        let error = panicked(what, payload);
        log::error!("{error}: {}", error.causes().join(": "));
    }
}

unsafe extern "C" fn describe(sink: SinkPtr, text: *mut Text, failure: *mut Failure) -> i32 {
    let call = || {
        // SAFETY: the host's sink.
        let opened = unsafe { opened(sink)? };
        give_text(text, write(&DescriptionDoc::of(&*opened.sink)))
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "describe", call) }
}

unsafe extern "C" fn set_mode(sink: SinkPtr, mode: u32, failure: *mut Failure) -> i32 {
    let call = || {
        let mode = mode_of(mode)?;
        if sink.is_null() {
            return Err(nothing());
        }
        // SAFETY: the host's sink, which came from an `Rc`; it is given back
        // below, so that the count is as it was.
        let mut opened =
            ManuallyDrop::new(unsafe { Rc::from_raw(sink.cast::<Opened>().cast_const()) });
        // A transaction holds the sink, too, and must not have it changed.
        let opened = Rc::get_mut(&mut opened).ok_or_else(|| {
            let message = "the write mode cannot be changed while rows are written";
            Error::new(ErrorKind::Other, message)
        })?;
        opened.sink.set_mode(mode)
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "set_mode", call) }
}

unsafe extern "C" fn check_schema(
    sink: SinkPtr,
    schema: *const ArrowSchema,
    failure: *mut Failure,
) -> i32 {
    let call = || {
        // SAFETY: the host's sink and schema.
        let (opened, schema) = unsafe { (opened(sink)?, schema_of(schema)?) };
        opened.sink.check_schema(&schema)
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "check_schema", call) }
}

/// # Safety
///
/// As for [`borrowed`] and [`schema_of`].
unsafe fn context(cx: Str, schema: *const ArrowSchema) -> Result<TxnContext> {
    // SAFETY: by this function's contract.
    let (cx, schema) = unsafe { (borrowed("the context", cx)?, schema_of(schema)?) };
    read::<ContextDoc>("the context", cx)?.with_schema(schema)
}

unsafe extern "C" fn preview(
    sink: SinkPtr,
    cx: Str,
    schema: *const ArrowSchema,
    text: *mut Text,
    failure: *mut Failure,
) -> i32 {
    let call = || {
        // SAFETY: the host's sink, context and schema.
        let (opened, cx) = unsafe { (opened(sink)?, context(cx, schema)?) };
        let preview = opened.sink.preview(&cx)?;
        give_text(text, write(&PreviewDoc::from(preview)))
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "preview", call) }
}

unsafe extern "C" fn begin(
    sink: SinkPtr,
    cx: Str,
    schema: *const ArrowSchema,
    txn: *mut TxnPtr,
    failure: *mut Failure,
) -> i32 {
    let call = || {
        // SAFETY: the host's context and schema.
        let cx = unsafe { context(cx, schema)? };
        if sink.is_null() {
            return Err(nothing());
        }
        let sink = sink.cast::<Opened>().cast_const();
        // SAFETY: `open` made it with `Rc::into_raw`, and it was not closed.
        let opened = unsafe {
            Rc::increment_strong_count(sink);
            Rc::from_raw(sink)
        };
        let begun = opened.sink.begin(&cx)?;
        // SAFETY: only the lifetime changes. The transaction borrows from
        // `*opened`, which does not move, and which `Begun` keeps for longer
        // than the transaction.
        let begun = unsafe {
            std::mem::transmute::<Box<dyn SinkTxn + '_>, Box<dyn SinkTxn + 'static>>(begun)
        };
        let begun = Box::new(Begun {
            // Whatever the author's transaction does about it.
            txn: Box::new(Guarded::new(&cx, begun)),
            row: DataType::Struct(cx.schema.fields().clone()),
            schema: cx.schema,
            _opened: opened,
        });
        give(txn, Box::into_raw(begun).cast::<c_void>())
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "begin", call) }
}

unsafe extern "C" fn partition(txn: TxnPtr, info: Str, failure: *mut Failure) -> i32 {
    let call = || {
        // SAFETY: the host's transaction and document.
        let (begun, info) = unsafe { (begun(txn)?, borrowed("the partition", info)?) };
        let info = read::<PartitionDoc>("the partition", info)?.info()?;
        begun.txn.partition(&info)
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "partition", call) }
}

unsafe extern "C" fn write_batch(
    txn: TxnPtr,
    partition: u32,
    array: *mut ArrowArray,
    failure: *mut Failure,
) -> i32 {
    let call = || {
        // SAFETY: the host's transaction.
        let begun = unsafe { begun(txn)? };
        // SAFETY: the host's array, which is ours from here on.
        let imported = unsafe { import(array, &begun.row, &begun.schema) };
        // A batch that did not arrive is one that is missing.
        let records = imported.inspect_err(|_| begun.txn.fail())?;
        begun.txn.write(&Batch {
            records,
            partition: PartitionId(partition),
        })
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "write", call) }
}

/// Takes over an array.
///
/// # Safety
///
/// `array` is null, or points to an array of the C data interface.
unsafe fn import(
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

unsafe extern "C" fn commit(
    txn: TxnPtr,
    outcome: Str,
    text: *mut Text,
    failure: *mut Failure,
) -> i32 {
    let call = || {
        // SAFETY: the host's transaction, which it gives up.
        let begun = unsafe { ended(txn)? };
        // SAFETY: lent for this call.
        let outcome = unsafe { borrowed("the outcome", outcome)? };
        let outcome = read::<OutcomeDoc>("the outcome", outcome)?;
        let rows = outcome.rows;
        let missing = outcome.missing()?;
        let Begun { txn, _opened, .. } = *begun;
        let summary = txn.commit(&Outcome {
            missing: &missing,
            rows,
        })?;
        give_text(text, write(&SummaryDoc::from(summary)))
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "commit", call) }
}

unsafe extern "C" fn abort(txn: TxnPtr, text: *mut Text, failure: *mut Failure) -> i32 {
    let call = || {
        // SAFETY: the host's transaction, which it gives up.
        let begun = unsafe { ended(txn)? };
        let Begun { txn, _opened, .. } = *begun;
        let residue = txn.abort()?;
        give_text(text, write(&ResidueDoc::from(residue)))
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "abort", call) }
}

unsafe extern "C" fn discard(txn: TxnPtr) {
    // SAFETY: the host's transaction, which it gives up.
    quietly("discard", || drop(unsafe { ended(txn) }));
}
