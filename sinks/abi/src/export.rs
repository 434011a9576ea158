//! From a [`Sink`] to a table of C functions.
//!
//! Every function catches panics. Only the transaction in which one happened
//! is lost by it: the next call of that transaction is refused.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use arrow::datatypes::{DataType, SchemaRef};
use mixflow_core::batch::{Batch, PartitionId};
use mixflow_core::config::Invalid;
use mixflow_core::registry::OptionDoc;
use mixflow_core::sink::{Guarded, Outcome, Sink, SinkTxn, TxnContext};
use mixflow_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;

use crate::answer::{answer, quietly, tell};
use crate::cancel::{Lent, Watch};
use crate::lent::{borrowed, give, give_text, import, nothing, schema_of};
use crate::numbers::mode_of;
use crate::raw::{
    ArrowArray, ArrowSchema, Cancel, FAILED, Failure, Host, MAGIC, SinkPtr, Str, Table, Text,
    TxnPtr, VERSION,
};
use crate::wire::{
    ContextDoc, DescriptionDoc, OutcomeDoc, PartitionDoc, PreviewDoc, ResidueDoc, SummaryDoc,
    TakenDoc, read, write,
};
use crate::{forward, options};

/// What [`export_sink!`](crate::export_sink) makes of its arguments.
pub trait Plugin {
    /// What the sink is called.
    const NAME: &'static str;

    /// The crate of the author, as `log` names it.
    const CRATE: &'static str;

    /// The options, as serde reads them.
    type Config: DeserializeOwned;

    /// What the options are, for `mixflow components --library`.
    const OPTIONS: Option<&'static [OptionDoc]> = None;

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
        options: match P::OPTIONS {
            Some(_) => Some(options_of::<P>),
            None => None,
        },
        set_cancel: Some(set_cancel),
    }
}

/// A sink behind a [`SinkPtr`], which is an `Rc` of it.
struct Instance {
    sink: Box<dyn Sink>,
    /// What tells the next transaction that the run is to stop.
    cancel: Cell<Option<Lent>>,
}

/// A transaction behind a [`TxnPtr`], which is a `Box` of it.
struct Transaction {
    // Before `_instance`, because it is dropped before what it borrows from.
    txn: Box<Guarded<'static>>,
    schema: SchemaRef,
    row: DataType,
    _watch: Option<Watch>,
    _instance: Rc<Instance>,
}

/// # Safety
///
/// `sink` is what [`open`] gave, and was not closed.
unsafe fn instance<'s>(sink: SinkPtr) -> Result<&'s Instance> {
    // SAFETY: by this function's contract it is null or points into an `Rc`
    // that is alive.
    unsafe { sink.cast::<Instance>().cast_const().as_ref() }.ok_or_else(nothing)
}

/// # Safety
///
/// `txn` is what [`begin`] gave and has not ended, and nobody else uses it.
unsafe fn transaction<'t>(txn: TxnPtr) -> Result<&'t mut Transaction> {
    // SAFETY: by this function's contract it is null or points into a box.
    unsafe { txn.cast::<Transaction>().as_mut() }.ok_or_else(nothing)
}

/// # Safety
///
/// As for [`transaction`]; it has ended by this.
unsafe fn last_use(txn: TxnPtr) -> Result<Box<Transaction>> {
    if txn.is_null() {
        return Err(nothing());
    }
    // SAFETY: by this function's contract it came from a box, and is used for
    // the last time.
    Ok(unsafe { Box::from_raw(txn.cast::<Transaction>()) })
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
                let instance = Rc::new(Instance {
                    sink: made,
                    cancel: Cell::default(),
                });
                give(sink, Rc::into_raw(instance).cast_mut().cast::<c_void>())
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
            drop(unsafe { Rc::from_raw(sink.cast::<Instance>().cast_const()) });
        }
    });
}

unsafe extern "C" fn describe(sink: SinkPtr, text: *mut Text, failure: *mut Failure) -> i32 {
    let call = || {
        // SAFETY: the host's sink.
        let instance = unsafe { instance(sink)? };
        give_text(text, write(&DescriptionDoc::of(&*instance.sink)))
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
        let mut instance =
            ManuallyDrop::new(unsafe { Rc::from_raw(sink.cast::<Instance>().cast_const()) });
        // A transaction holds the sink, too, and must not have it changed.
        let instance = Rc::get_mut(&mut instance).ok_or_else(|| {
            let message = "the write mode cannot be changed while rows are written";
            Error::new(ErrorKind::Other, message)
        })?;
        instance.sink.set_mode(mode)
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "set_mode", call) }
}

unsafe extern "C" fn options_of<P: Plugin>(text: *mut Text, failure: *mut Failure) -> i32 {
    let call = || {
        let options = P::OPTIONS.unwrap_or_default().iter();
        let options: Vec<TakenDoc> = options.map(TakenDoc::of).collect();
        give_text(text, write(&options))
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "options", call) }
}

unsafe extern "C" fn set_cancel(sink: SinkPtr, cancel: *mut Cancel, failure: *mut Failure) -> i32 {
    let call = || {
        // SAFETY: the host's token, which is ours from here on.
        let lent = unsafe { Lent::take(cancel) };
        // SAFETY: the host's sink.
        let instance = unsafe { instance(sink)? };
        instance.cancel.set(lent);
        Ok(())
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "set_cancel", call) }
}

unsafe extern "C" fn check_schema(
    sink: SinkPtr,
    schema: *const ArrowSchema,
    failure: *mut Failure,
) -> i32 {
    let call = || {
        // SAFETY: the host's sink and schema.
        let (instance, schema) = unsafe { (instance(sink)?, schema_of(schema)?) };
        instance.sink.check_schema(&schema)
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
        let (instance, cx) = unsafe { (instance(sink)?, context(cx, schema)?) };
        let preview = instance.sink.preview(&cx)?;
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
        let mut cx = unsafe { context(cx, schema)? };
        if sink.is_null() {
            return Err(nothing());
        }
        let sink = sink.cast::<Instance>().cast_const();
        // SAFETY: `open` made it with `Rc::into_raw`, and it was not closed.
        let instance = unsafe {
            Rc::increment_strong_count(sink);
            Rc::from_raw(sink)
        };
        let mut watch = None;
        if let Some((watching, token)) = instance.cancel.take().and_then(Lent::watched) {
            cx.cancel = token;
            watch = Some(watching);
        }
        let transaction = instance.sink.begin(&cx)?;
        // SAFETY: only the lifetime changes. The transaction borrows from
        // `*instance`, which does not move, and which `Transaction` keeps for longer
        // than the transaction.
        let transaction = unsafe {
            std::mem::transmute::<Box<dyn SinkTxn + '_>, Box<dyn SinkTxn + 'static>>(transaction)
        };
        let transaction = Box::new(Transaction {
            // Whatever the author's transaction does about it.
            txn: Box::new(Guarded::new(&cx, transaction)),
            row: DataType::Struct(cx.schema.fields().clone()),
            schema: cx.schema,
            _watch: watch,
            _instance: instance,
        });
        give(txn, Box::into_raw(transaction).cast::<c_void>())
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "begin", call) }
}

unsafe extern "C" fn partition(txn: TxnPtr, info: Str, failure: *mut Failure) -> i32 {
    let call = || {
        // SAFETY: the host's transaction and document.
        let (transaction, info) = unsafe { (transaction(txn)?, borrowed("the partition", info)?) };
        let info = read::<PartitionDoc>("the partition", info)?.info()?;
        transaction.txn.partition(&info)
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
        let transaction = unsafe { transaction(txn)? };
        // SAFETY: the host's array, which is ours from here on.
        let imported = unsafe { import(array, &transaction.row, &transaction.schema) };
        // A batch that did not arrive is one that is missing.
        let records = imported.inspect_err(|_| transaction.txn.fail())?;
        transaction.txn.write(&Batch {
            records,
            partition: PartitionId(partition),
        })
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "write", call) }
}

unsafe extern "C" fn commit(
    txn: TxnPtr,
    outcome: Str,
    text: *mut Text,
    failure: *mut Failure,
) -> i32 {
    let call = || {
        // SAFETY: the host's transaction, which it gives up.
        let transaction = unsafe { last_use(txn)? };
        // SAFETY: lent for this call.
        let outcome = unsafe { borrowed("the outcome", outcome)? };
        let outcome = read::<OutcomeDoc>("the outcome", outcome)?;
        let rows = outcome.rows;
        let missing = outcome.missing()?;
        let Transaction { txn, _instance, .. } = *transaction;
        let summary = txn.commit(&Outcome {
            missing: &missing,
            rows,
            units: &[],
        })?;
        give_text(text, write(&SummaryDoc::from(summary)))
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "commit", call) }
}

unsafe extern "C" fn abort(txn: TxnPtr, text: *mut Text, failure: *mut Failure) -> i32 {
    let call = || {
        // SAFETY: the host's transaction, which it gives up.
        let transaction = unsafe { last_use(txn)? };
        let Transaction { txn, _instance, .. } = *transaction;
        let residue = txn.abort()?;
        give_text(text, write(&ResidueDoc::from(residue)))
    };
    // SAFETY: the host's place for a failure.
    unsafe { answer(failure, "abort", call) }
}

unsafe extern "C" fn discard(txn: TxnPtr) {
    // SAFETY: the host's transaction, which it gives up.
    quietly("discard", || drop(unsafe { last_use(txn) }));
}
