//! A sink that forwards to a library.

use std::path::PathBuf;
use std::ptr;

use arrow::array::{Array as _, StructArray};
use arrow::datatypes::Schema;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use mixflow_core::batch::Batch;
use mixflow_core::config::Invalid;
use mixflow_core::destination::Destination;
use mixflow_core::ledger::Earlier;
use mixflow_core::sink::{
    Capabilities, CommitSummary, Outcome, PartitionInfo, Preview, Residue, Sink, SinkTxn,
    TxnContext, WriteMode,
};
use mixflow_core::unit::DataKind;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_abi::numbers;
use mixflow_sink_abi::raw::{
    ArrowArray, ArrowSchema, Failure, IN_DOUBT, OK, SinkPtr, Str, Text, TxnPtr,
};
use mixflow_sink_abi::wire::{
    self, ContextDoc, DescriptionDoc, InvalidDoc, OutcomeDoc, PartitionDoc, PreviewDoc, ResidueDoc,
    SummaryDoc,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cancel;
use crate::host::lent;
use crate::library::{Functions, Library};
use crate::options::to_json;

/// The options of `type = "plugin"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginOptions {
    /// The library, relative to the working directory.
    pub library: PathBuf,
    /// What the sink takes.
    #[serde(default)]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub options: toml::Table,
}

/// A sink of a library.
///
/// Every error is a cause of one that names the sink and its library. Nothing
/// of it can be sent to another thread, because all calls of a sink come from
/// one.
#[derive(Debug)]
pub struct PluginSink {
    library: Library,
    description: DescriptionDoc,
    handle: SinkPtr,
}

impl PluginSink {
    /// Loads the library and has it check the options. Makes no other I/O.
    pub fn new(options: PluginOptions) -> Result<PluginSink, Vec<Invalid>> {
        let json = to_json(options.options)?;
        if options.library.as_os_str().is_empty() {
            return Err(vec![Invalid::new("library", "this is empty")]);
        }
        let library = Library::open(&options.library)
            .map_err(|error| vec![Invalid::new("library", with_hint(&error))])?;
        PluginSink::open(library, &json)
    }

    /// Makes a sink of a library that was opened. What is wrong with the
    /// options is named as `options.…`.
    pub fn open(library: Library, options: &serde_json::Value) -> Result<PluginSink, Vec<Invalid>> {
        let options = wire::write(options);
        let mut handle: SinkPtr = ptr::null_mut();
        let mut failure = Failure::empty();
        let open = library.functions().open;
        // SAFETY: the host stays; options are lent for the call; there are
        // places for the sink and for a failure.
        let code = unsafe { open(lent(), Str::of(&options), &raw mut handle, &raw mut failure) };
        if code != OK {
            return Err(refused(&mut failure));
        }
        // From here on it is closed when it is dropped.
        let mut sink = PluginSink {
            library,
            description: DescriptionDoc {
                transactional: false,
                replaces_days: false,
                records: wire::RecordsDoc::Normalized,
                destination: String::new(),
                place: None,
                table: None,
                earlier: None,
            },
            handle,
        };
        match sink.describe() {
            Ok(description) => sink.description = description,
            Err(error) => return Err(vec![Invalid::new("library", with_hint(&error))]),
        }
        Ok(sink)
    }

    fn describe(&self) -> Result<DescriptionDoc> {
        if self.handle.is_null() {
            return Err(self.error("cannot be made", nothing_given("sink")));
        }
        let describe = self.functions().describe;
        self.document("cannot be made", "its description", |text, failure| {
            // SAFETY: the sink was opened; there are places for both.
            unsafe { describe(self.handle, text, failure) }
        })
    }

    fn functions(&self) -> Functions {
        self.library.functions()
    }

    /// Makes a call that answers nothing but how it went.
    fn call(&self, cannot: &str, call: impl FnOnce(*mut Failure) -> i32) -> Result<()> {
        let mut failure = Failure::empty();
        match call(&raw mut failure) {
            OK => Ok(()),
            _ => Err(self.error(cannot, reason(&mut failure))),
        }
    }

    /// Makes a call that answers a document.
    fn document<T: DeserializeOwned>(
        &self,
        cannot: &str,
        what: &str,
        call: impl FnOnce(*mut Text, *mut Failure) -> i32,
    ) -> Result<T> {
        let mut text = Text::empty();
        let called = self.call(cannot, |failure| call(&raw mut text, failure));
        // SAFETY: empty, or what the library gave. Taken also after a failure,
        // so that it is released.
        let text = unsafe { text.take() };
        called?;
        // If it was a commit, it may have happened.
        wire::read(what, &text).map_err(|error| self.error(cannot, error).in_doubt())
    }

    /// Names the sink and its library in an error.
    fn error(&self, cannot: &str, cause: Error) -> Error {
        let name = self.library.name();
        let path = self.library.path().display();
        cause.context(format!("the sink `{name}` of `{path}` {cannot}"))
    }

    fn context(&self, cannot: &str, cx: &TxnContext) -> Result<(String, FFI_ArrowSchema)> {
        let schema = self.schema(cannot, &cx.schema)?;
        Ok((wire::write(&ContextDoc::of(cx)), schema))
    }

    fn schema(&self, cannot: &str, schema: &Schema) -> Result<FFI_ArrowSchema> {
        FFI_ArrowSchema::try_from(schema).map_err(|error| self.error(cannot, error.into()))
    }
}

impl Drop for PluginSink {
    fn drop(&mut self) {
        let close = self.functions().close;
        // SAFETY: the sink was opened, its transactions borrowed it and have
        // ended, and it is used for the last time.
        unsafe { close(self.handle) };
    }
}

/// Returns arrow's struct as ours; the C data interface fixes the layout.
fn lend(schema: &FFI_ArrowSchema) -> *const ArrowSchema {
    ptr::from_ref(schema).cast()
}

/// Takes what a library says of a failure.
fn reason(failure: &mut Failure) -> Error {
    // SAFETY: empty, or what the library gave.
    let (message, hint, _) = unsafe {
        (
            failure.message.take(),
            failure.hint.take(),
            failure.invalid.take(),
        )
    };
    let kind = numbers::kind_of(failure.kind);
    let mut lines: Vec<&str> = message
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    if lines.is_empty() {
        lines.push("it gives no reason");
    }
    let innermost = lines.pop().unwrap_or_default();
    let error = lines
        .into_iter()
        .rev()
        .fold(Error::new(kind, innermost), |cause, line| {
            Error::new(kind, line).with_source(cause)
        });
    let error = match failure.flags & IN_DOUBT {
        0 => error,
        _ => error.in_doubt(),
    };
    if hint.is_empty() {
        error
    } else {
        error.hint(hint)
    }
}

/// Takes what a library says of options that are wrong.
fn refused(failure: &mut Failure) -> Vec<Invalid> {
    // SAFETY: empty, or what the library gave.
    let list = unsafe { failure.invalid.take() };
    let list: Vec<InvalidDoc> = serde_json::from_str(&list).unwrap_or_default();
    let error = reason(failure);
    if list.is_empty() {
        return vec![Invalid::new("options", with_hint(&error))];
    }
    let invalid = list.into_iter().map(|InvalidDoc { key, message }| {
        let key = match key.as_str() {
            "" => "options".to_owned(),
            key => format!("options.{key}"),
        };
        Invalid::new(key, message)
    });
    invalid.collect()
}

/// Returns an error as one line, its hint included.
fn with_hint(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{}; {hint}", error.in_a_line()),
        None => error.in_a_line(),
    }
}

fn nothing_given(what: &str) -> Error {
    Error::new(ErrorKind::Other, format!("it gave no {what}"))
}

impl Sink for PluginSink {
    fn capabilities(&self) -> Capabilities {
        self.description.capabilities()
    }

    fn destination(&self, _kind: &DataKind) -> Destination {
        self.description.destination()
    }

    fn earlier(&self) -> Earlier {
        self.description.earlier()
    }

    fn set_mode(&mut self, mode: WriteMode) -> Result<()> {
        let cannot = "cannot change what it does with what is there";
        let Some(set_mode) = self.functions().set_mode else {
            let cause = Error::new(ErrorKind::Config, "it has no write mode");
            return Err(self.error(cannot, cause));
        };
        self.call(cannot, |failure| {
            // SAFETY: the sink was opened, and there is no transaction: it
            // would borrow this.
            unsafe { set_mode(self.handle, numbers::mode_number(mode), failure) }
        })?;
        // What it promises may have changed with it.
        self.description = self.describe()?;
        Ok(())
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        let cannot = "cannot write these rows";
        let schema = self.schema(cannot, schema)?;
        let check = self.functions().check_schema;
        self.call(cannot, |failure| {
            // SAFETY: the sink was opened; the schema is lent for the call.
            unsafe { check(self.handle, lend(&schema), failure) }
        })
    }

    fn preview(&self, cx: &TxnContext) -> Result<Preview> {
        let cannot = "cannot begin";
        let (json, schema) = self.context(cannot, cx)?;
        let preview = self.functions().preview;
        let doc: PreviewDoc = self.document(cannot, "its preview", |text, failure| {
            // SAFETY: the sink was opened; the rest is lent for the call.
            unsafe { preview(self.handle, Str::of(&json), lend(&schema), text, failure) }
        })?;
        Ok(doc.into())
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        let cannot = "cannot begin";
        let (json, schema) = self.context(cannot, cx)?;
        if let Some(set_cancel) = self.functions().set_cancel {
            let mut cancel = cancel::lend(&cx.cancel);
            self.call(cannot, |failure| {
                // SAFETY: the sink was opened; the library takes the token.
                unsafe { set_cancel(self.handle, &raw mut cancel, failure) }
            })?;
        }
        let begin = self.functions().begin;
        let mut txn: TxnPtr = ptr::null_mut();
        self.call(cannot, |failure| {
            // SAFETY: the sink was opened; the rest is lent for the call; there
            // is a place for the transaction.
            unsafe {
                begin(
                    self.handle,
                    Str::of(&json),
                    lend(&schema),
                    &raw mut txn,
                    failure,
                )
            }
        })?;
        if txn.is_null() {
            return Err(self.error(cannot, nothing_given("transaction")));
        }
        let txn = PluginTxn {
            sink: self,
            txn,
            rows: 0,
        };
        Ok(Box::new(txn))
    }
}

/// A transaction of a library. The borrow keeps the sink open for its life.
struct PluginTxn<'s> {
    sink: &'s PluginSink,
    /// Null once it has ended.
    txn: TxnPtr,
    rows: u64,
}

impl PluginTxn<'_> {
    /// Gives the transaction to a call that ends it.
    fn end(&mut self) -> TxnPtr {
        std::mem::replace(&mut self.txn, ptr::null_mut())
    }
}

impl SinkTxn for PluginTxn<'_> {
    fn partition(&mut self, info: &PartitionInfo) -> Result<()> {
        let json = wire::write(&PartitionDoc::of(info));
        let partition = self.sink.functions().partition;
        self.sink.call("cannot begin a partition", |failure| {
            // SAFETY: the transaction has not ended; the text is lent.
            unsafe { partition(self.txn, Str::of(&json), failure) }
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        let rows = StructArray::from(batch.records.clone());
        let mut array = FFI_ArrowArray::new(&rows.to_data());
        let moved = ptr::from_mut(&mut array).cast::<ArrowArray>();
        let write = self.sink.functions().write;
        self.sink.call("cannot write", |failure| {
            // SAFETY: the transaction has not ended. The array is the
            // library's from here on; one that it did not move is released
            // when `array` is dropped, as its own `release` tells.
            unsafe { write(self.txn, batch.partition.0, moved, failure) }
        })?;
        self.rows += batch.records.num_rows() as u64;
        Ok(())
    }

    fn commit(mut self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        let json = wire::write(&OutcomeDoc::of(outcome));
        let commit = self.sink.functions().commit;
        let txn = self.end();
        let cannot = "cannot commit";
        let doc: SummaryDoc = self.sink.document(cannot, "its summary", |text, failure| {
            // SAFETY: the transaction has not ended before, and has after this.
            unsafe { commit(txn, Str::of(&json), text, failure) }
        })?;
        let summary = CommitSummary::from(doc);
        // Before the guard does, which does not know whose fault it is.
        let checked = summary.check_rows(self.rows);
        checked.map_err(|error| {
            self.sink
                .error("does not have all rows that it was given", error)
        })?;
        Ok(summary)
    }

    fn abort(mut self: Box<Self>) -> Result<Residue> {
        let abort = self.sink.functions().abort;
        let txn = self.end();
        let cannot = "cannot take back what it wrote";
        let doc: ResidueDoc = self.sink.document(cannot, "its residue", |text, failure| {
            // SAFETY: the transaction has not ended before, and has after this.
            unsafe { abort(txn, text, failure) }
        })?;
        Ok(doc.into())
    }
}

impl Drop for PluginTxn<'_> {
    fn drop(&mut self) {
        if !self.txn.is_null() {
            let discard = self.sink.functions().discard;
            // SAFETY: the transaction has not ended before, and has after this.
            unsafe { discard(self.end()) };
        }
    }
}
