//! The types that cross the boundary, as C sees them.
//!
//! `include/mixflow_sink.h` says the same for C; a test compares the two.
//!
//! # Rules
//!
//! - Only these structs, the two structs of the [Arrow C data interface],
//!   integers, and UTF-8 cross.
//! - All calls for one sink come from one thread, in the order that
//!   `mixflow_core::sink` describes. Functions of [`Host`] may be called from
//!   any thread at any time, also after a commit.
//! - A function that fails returns something other than [`OK`] and fills the
//!   [`Failure`] that it was given, which is empty when it is called.
//! - What is passed in as a [`Str`] or a schema is borrowed for the call. What
//!   is passed out as a [`Text`] belongs to the host, which calls its `release`.
//! - Nothing may unwind out of a function: a panic or an exception that gets
//!   out ends the process.
//! - A library is never unloaded.
//!
//! [Arrow C data interface]: https://arrow.apache.org/docs/format/CDataInterface.html

use std::ffi::{CStr, c_char, c_void};

/// The name of a static [`Version`], which is looked at before anything else.
pub const VERSION_SYMBOL: &CStr = c"mixflow_sink_abi_version";

/// The name of a [`TableFn`].
pub const TABLE_SYMBOL: &CStr = c"mixflow_sink_table";

/// The first eight bytes of a [`Table`].
pub const MAGIC: [u8; 8] = *b"MIXFSINK";

/// The version that this crate describes.
pub const VERSION: Version = Version { major: 1, minor: 2 };

/// What a function returns that did what it was asked to.
pub const OK: i32 = 0;

/// What a function returns that failed, and has filled its [`Failure`].
pub const FAILED: i32 = 1;

/// A flag of a [`Failure`]: the commit may have happened all the same.
pub const IN_DOUBT: u32 = 1;

/// A version of the boundary.
///
/// Another major is another boundary. A minor appends functions to the
/// [`Table`] and fields to the JSON documents, and changes nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Differs where things do not fit.
    pub major: u32,
    /// Differs where something was added.
    pub minor: u32,
}

/// UTF-8 that is borrowed for a call; not terminated. `ptr` may be null if
/// `len` is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Str {
    /// The first byte.
    pub ptr: *const u8,
    /// The number of bytes.
    pub len: usize,
}

/// UTF-8 that belongs to whoever holds it, and goes back with `release`.
#[repr(C)]
#[derive(Debug)]
pub struct Text {
    /// The first byte; null if there is no text.
    pub ptr: *const u8,
    /// The number of bytes.
    pub len: usize,
    /// For `release`.
    pub owner: *mut c_void,
    /// Frees it. None if there is nothing to free, such as for a literal.
    pub release: Option<unsafe extern "C" fn(*mut Text)>,
}

impl Text {
    /// Returns what a text is before anybody has filled it.
    pub const fn empty() -> Text {
        Text {
            ptr: std::ptr::null(),
            len: 0,
            owner: std::ptr::null_mut(),
            release: None,
        }
    }
}

/// Why a function failed.
#[repr(C)]
#[derive(Debug)]
pub struct Failure {
    /// Which kind: a number of `ErrorKind` in the header; 0 and unknown ones
    /// are "other".
    pub kind: u32,
    /// [`IN_DOUBT`], or 0.
    pub flags: u32,
    /// The first line is the message; each further one is the cause of the one
    /// before.
    pub message: Text,
    /// What to do about it, starting with a verb, or nothing.
    pub hint: Text,
    /// From `open` only, or nothing: a JSON list of `{"key", "message"}`, one
    /// for each option that is wrong.
    pub invalid: Text,
}

impl Failure {
    /// Returns what a failure is before anybody has filled it.
    pub const fn empty() -> Failure {
        Failure {
            kind: 0,
            flags: 0,
            message: Text::empty(),
            hint: Text::empty(),
            invalid: Text::empty(),
        }
    }
}

/// What the host lends to a library. Valid for the life of the process.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The size of this struct in bytes, as the host knows it.
    pub size: usize,
    /// The highest level that is logged: 0 none, 1 error, 2 warn, 3 info,
    /// 4 debug, 5 trace.
    pub log_level: u32,
    /// Logs a line: level, target, text. A target that begins with `mixflow`
    /// is shown with `-v`, another if `RUST_LOG` names it.
    pub log: Option<unsafe extern "C" fn(u32, Str, Str)>,
}

/// A schema of the Arrow C data interface.
#[repr(C)]
#[derive(Debug)]
pub struct ArrowSchema {
    /// The type.
    pub format: *const c_char,
    /// The name.
    pub name: *const c_char,
    /// Key and value pairs.
    pub metadata: *const c_char,
    /// Flags.
    pub flags: i64,
    /// The number of children.
    pub n_children: i64,
    /// The children.
    pub children: *mut *mut ArrowSchema,
    /// The dictionary.
    pub dictionary: *mut ArrowSchema,
    /// Frees it; null once it was moved or freed.
    pub release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    /// For `release`.
    pub private_data: *mut c_void,
}

/// An array of the Arrow C data interface.
#[repr(C)]
#[derive(Debug)]
pub struct ArrowArray {
    /// The number of values.
    pub length: i64,
    /// The number of nulls; -1 if it is not known.
    pub null_count: i64,
    /// The first value.
    pub offset: i64,
    /// The number of buffers.
    pub n_buffers: i64,
    /// The number of children.
    pub n_children: i64,
    /// The buffers.
    pub buffers: *mut *const c_void,
    /// The children.
    pub children: *mut *mut ArrowArray,
    /// The dictionary.
    pub dictionary: *mut ArrowArray,
    /// Frees it; null once it was moved or freed.
    pub release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    /// For `release`.
    pub private_data: *mut c_void,
}

/// Returns the table of a library; it must be valid for the life of the process.
pub type TableFn = unsafe extern "C" fn() -> *const Table;

/// A sink that was opened, as its library knows it.
pub type SinkPtr = *mut c_void;

/// A transaction that was begun, as its library knows it.
pub type TxnPtr = *mut c_void;

/// Makes a sink of options, a JSON object. Makes no I/O.
pub type OpenFn = unsafe extern "C" fn(*const Host, Str, *mut SinkPtr, *mut Failure) -> i32;

/// Ends a sink. Its transactions have ended.
pub type CloseFn = unsafe extern "C" fn(SinkPtr);

/// Says what a sink can promise, as a JSON `Description`. Makes no I/O.
pub type DescribeFn = unsafe extern "C" fn(SinkPtr, *mut Text, *mut Failure) -> i32;

/// Checks that rows of a schema can be written. Makes no I/O.
pub type CheckSchemaFn = unsafe extern "C" fn(SinkPtr, *const ArrowSchema, *mut Failure) -> i32;

/// Says what a run would do, as a JSON `Preview`. Changes nothing. Takes a
/// JSON `Context` and the schema of all batches.
pub type PreviewFn =
    unsafe extern "C" fn(SinkPtr, Str, *const ArrowSchema, *mut Text, *mut Failure) -> i32;

/// Begins a transaction. Takes what [`PreviewFn`] takes.
pub type BeginFn =
    unsafe extern "C" fn(SinkPtr, Str, *const ArrowSchema, *mut TxnPtr, *mut Failure) -> i32;

/// Announces a partition, a JSON `Partition`, before its first batch.
pub type PartitionFn = unsafe extern "C" fn(TxnPtr, Str, *mut Failure) -> i32;

/// Writes a batch of a partition: a struct array of the schema that the
/// transaction began with. The array is moved: it is the library's to release,
/// also when this fails.
pub type WriteFn = unsafe extern "C" fn(TxnPtr, u32, *mut ArrowArray, *mut Failure) -> i32;

/// Makes everything visible at once, or nothing. Takes a JSON `Outcome`, gives
/// a JSON `Summary`. The transaction has ended, also when this fails.
pub type CommitFn = unsafe extern "C" fn(TxnPtr, Str, *mut Text, *mut Failure) -> i32;

/// Gives everything up and says what remains, as a JSON `Residue`. The
/// transaction has ended, also when this fails.
pub type AbortFn = unsafe extern "C" fn(TxnPtr, *mut Text, *mut Failure) -> i32;

/// Gives everything up, as [`AbortFn`], when nobody asks what remains.
pub type DiscardFn = unsafe extern "C" fn(TxnPtr);

/// Chooses what a sink does with what is there: 0 for `create`, 1 for `append`,
/// 2 for `replace`, 3 for `replace_window`. Fails with a kind of `config` if the
/// sink cannot do that. Comes before a transaction is begun; makes no I/O.
pub type SetModeFn = unsafe extern "C" fn(SinkPtr, u32, *mut Failure) -> i32;

/// Says which options the sink takes, as a JSON list of `{"name", "value",
/// "about"}`: the key, what may be written there, what it is for. Makes no I/O.
pub type OptionsFn = unsafe extern "C" fn(*mut Text, *mut Failure) -> i32;

/// Tells whether a run is to stop. It belongs to whoever holds it, and goes back
/// with `release`; until then it may be asked from any thread.
#[repr(C)]
#[derive(Debug)]
pub struct Cancel {
    /// The size of this struct in bytes, as the host knows it.
    pub size: usize,
    /// For `wait` and `release`.
    pub token: *const c_void,
    /// Waits for so many milliseconds, or until the run is to stop, and returns
    /// 1 if it is. With 0 it only asks.
    pub wait: Option<unsafe extern "C" fn(*const c_void, u32) -> u32>,
    /// Frees it.
    pub release: Option<unsafe extern "C" fn(*const c_void)>,
}

/// Gives a sink what tells the next transaction that the run is to stop. The
/// struct is moved: it is the library's to release, also when this fails. Comes
/// before each `begin`; makes no I/O.
pub type SetCancelFn = unsafe extern "C" fn(SinkPtr, *mut Cancel, *mut Failure) -> i32;

/// The functions of a library. Those of version 1.0 are mandatory; they are
/// `Option`s because what a library says is looked at before it is believed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// The version that the library was built for.
    pub version: Version,
    /// The size of the table in bytes, as the library knows it.
    pub size: usize,
    /// What the sink is called.
    pub name: Str,
    /// See the type.
    pub open: Option<OpenFn>,
    /// See the type.
    pub close: Option<CloseFn>,
    /// See the type.
    pub describe: Option<DescribeFn>,
    /// See the type.
    pub check_schema: Option<CheckSchemaFn>,
    /// See the type.
    pub preview: Option<PreviewFn>,
    /// See the type.
    pub begin: Option<BeginFn>,
    /// See the type.
    pub partition: Option<PartitionFn>,
    /// See the type.
    pub write: Option<WriteFn>,
    /// See the type.
    pub commit: Option<CommitFn>,
    /// See the type.
    pub abort: Option<AbortFn>,
    /// See the type.
    pub discard: Option<DiscardFn>,
    /// See the type. Since version 1.1, and not mandatory: without it the sink
    /// has no write mode.
    pub set_mode: Option<SetModeFn>,
    /// See the type. Since version 1.2, and not mandatory: without it nobody can
    /// list the options.
    pub options: Option<OptionsFn>,
    /// See the type. Since version 1.2, and not mandatory: without it a sink hears
    /// of an interrupt when it is called next.
    pub set_cancel: Option<SetCancelFn>,
}

impl Table {
    /// How long a table of version 1.0 is.
    pub const SIZE_1_0: usize = std::mem::offset_of!(Table, set_mode);
}

// SAFETY: a table is constant data and functions that may be called from any
// thread; `name` points to static bytes, by the rules of this module.
unsafe impl Sync for Table {}
// SAFETY: as above.
unsafe impl Send for Table {}
