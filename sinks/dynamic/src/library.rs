//! Opens a library and looks whether it is what it should be.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::ptr;

use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_abi::raw::{
    AbortFn, BeginFn, CheckSchemaFn, CloseFn, CommitFn, DescribeFn, DiscardFn, Failure, MAGIC, OK,
    OpenFn, OptionsFn, PartitionFn, PreviewFn, SetCancelFn, SetModeFn, TABLE_SYMBOL, Table,
    TableFn, Text, VERSION, VERSION_SYMBOL, Version, WriteFn,
};
use mixflow_sink_abi::wire::{self, TakenDoc};
use object::ObjectKind;
use object::read::{Object as _, ObjectSegment as _, ReadCache};

/// A library with a sink. It stays loaded for the life of the process.
#[derive(Debug)]
pub struct Library {
    path: PathBuf,
    name: String,
    version: Version,
    functions: Functions,
}

/// The functions of a table that was looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Functions {
    pub(crate) open: OpenFn,
    pub(crate) close: CloseFn,
    pub(crate) describe: DescribeFn,
    pub(crate) check_schema: CheckSchemaFn,
    pub(crate) preview: PreviewFn,
    pub(crate) begin: BeginFn,
    pub(crate) partition: PartitionFn,
    pub(crate) write: WriteFn,
    pub(crate) commit: CommitFn,
    pub(crate) abort: AbortFn,
    pub(crate) discard: DiscardFn,
    /// Not in libraries of version 1.0.
    pub(crate) set_mode: Option<SetModeFn>,
    /// Not in libraries before version 1.2.
    pub(crate) options: Option<OptionsFn>,
    /// Not in libraries before version 1.2.
    pub(crate) set_cancel: Option<SetCancelFn>,
}

impl Functions {
    fn of(table: &Table) -> Result<Functions> {
        fn there<F>(name: &str, function: Option<F>) -> Result<F> {
            function.ok_or_else(|| problem(format!("its function `{name}` is null")))
        }
        Ok(Functions {
            open: there("open", table.open)?,
            close: there("close", table.close)?,
            describe: there("describe", table.describe)?,
            check_schema: there("check_schema", table.check_schema)?,
            preview: there("preview", table.preview)?,
            begin: there("begin", table.begin)?,
            partition: there("partition", table.partition)?,
            write: there("write", table.write)?,
            commit: there("commit", table.commit)?,
            abort: there("abort", table.abort)?,
            discard: there("discard", table.discard)?,
            set_mode: table.set_mode,
            options: table.options,
            set_cancel: table.set_cancel,
        })
    }
}

impl Library {
    /// Opens the library at `path`, relative to the working directory.
    ///
    /// Runs what the library runs when it is loaded. Fails with
    /// [`ErrorKind::Config`] if it is not a sink that this mixflow can use; the
    /// causes say why.
    pub fn open(path: &Path) -> Result<Library> {
        let failed = |cause: Error| {
            let hint = cause.hint_text().map(str::to_owned);
            let error = Error::new(
                ErrorKind::Config,
                format!("cannot load the library `{}`", path.display()),
            );
            let error = error.with_source(cause);
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        };
        load(path).map_err(failed)
    }

    /// Takes a table that is in this process already, such as one of a crate
    /// that is compiled in.
    ///
    /// # Safety
    ///
    /// `table` keeps the rules of [`mixflow_sink_abi::raw`].
    pub unsafe fn from_table(table: *const Table) -> Result<Library> {
        // SAFETY: by this function's contract.
        let (functions, name, version) = unsafe { checked(table)? };
        Ok(Library {
            path: PathBuf::new(),
            name,
            version,
            functions,
        })
    }

    /// Returns what the sink is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where the library is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the version of the plugin interface that it was built for.
    pub fn version(&self) -> (u32, u32) {
        (self.version.major, self.version.minor)
    }

    /// Returns whether a pipeline may choose what the sink does with what is
    /// there.
    pub fn has_modes(&self) -> bool {
        self.functions.set_mode.is_some()
    }

    /// Returns the options that the sink takes; `None` if the library does not
    /// say.
    pub fn options(&self) -> Option<Vec<TakenDoc>> {
        let options = self.functions.options?;
        let (mut text, mut failure) = (Text::empty(), Failure::empty());
        // SAFETY: a function of this library; there are places for both.
        let code = unsafe { options(&raw mut text, &raw mut failure) };
        // SAFETY: empty, or what the library gave; taken so that it is released.
        let text = unsafe {
            failure.message.take();
            failure.hint.take();
            failure.invalid.take();
            text.take()
        };
        match code {
            OK => wire::read("what it takes", &text).ok(),
            _ => None,
        }
    }

    pub(crate) fn functions(&self) -> Functions {
        self.functions
    }
}

fn problem(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}

fn load(path: &Path) -> Result<Library> {
    // Absolute, because the loader looks for a bare name in its own places,
    // which the environment may change.
    let file = std::path::absolute(path)
        .map_err(|error| problem("the path has no absolute form").with_source(error))?;
    let metadata = std::fs::metadata(&file).map_err(|error| {
        problem("there is no such file")
            .with_source(error)
            .hint(what_there_is(path))
    })?;
    if metadata.is_dir() {
        let hint = "name the library in it, such as `target/release/libmine.so`";
        return Err(problem("it is a folder").hint(hint));
    }
    if !metadata.is_file() {
        return Err(problem("it is not a file"));
    }
    look(&file, metadata.len())?;
    // SAFETY: whatever runs when a library is loaded runs here. That is what
    // the user asks for with a path in a pipeline file, which is the only
    // place that a path comes from.
    let library = unsafe { open(&file) }.map_err(|error| {
        problem("the system cannot load it")
            .with_source(error)
            .hint(format!(
                "build it as a `cdylib` for this machine ({} {})",
                std::env::consts::ARCH,
                std::env::consts::OS
            ))
    })?;
    // Never unloaded: threads, thread locals and `atexit` of a library would
    // be left with code that is gone.
    let table = table_of(Box::leak(Box::new(library)))?;
    // SAFETY: what it gives is a table of this version, or is found out.
    let (functions, name, version) = unsafe { checked(table)? };
    Ok(Library {
        path: path.to_owned(),
        name,
        version,
        functions,
    })
}

/// Asks a library for its table, if it is of a version that this mixflow knows.
fn table_of(library: &'static libloading::Library) -> Result<*const Table> {
    // SAFETY: the symbol is a static `Version`, which is two integers: whatever
    // it is, it can be read as that.
    let version = unsafe { library.get::<*const Version>(VERSION_SYMBOL) }.map_err(|error| {
        problem(format!(
            "it is not a sink of mixflow: it has no `{}`",
            VERSION_SYMBOL.to_string_lossy()
        ))
        .with_source(error)
        .hint("a sink has the line `export_sink!(…)` of mixflow-sink-abi")
    })?;
    if version.is_null() || !version.is_aligned() {
        return Err(problem("its version is not a version"));
    }
    // SAFETY: it is neither null nor misaligned, and lives as long as the library.
    check_version(unsafe { version.read() })?;
    // SAFETY: a library of this version has a function of this type there.
    let table = unsafe { library.get::<TableFn>(TABLE_SYMBOL) }.map_err(|error| {
        problem(format!("it has no `{}`", TABLE_SYMBOL.to_string_lossy())).with_source(error)
    })?;
    // SAFETY: as above; it takes nothing and gives a pointer.
    Ok(unsafe { table() })
}

/// Looks at a library without loading it.
///
/// The system's loader ends the process with a bus error when it is given one
/// whose end is missing, and says little of one for another machine.
fn look(path: &Path, length: u64) -> Result<()> {
    let mut file =
        File::open(path).map_err(|error| problem("it cannot be read").with_source(error))?;
    check_beginning(&mut file)?;
    let cache = ReadCache::new(file);
    let library = object::File::parse(&cache)
        .map_err(|error| problem("it is not a library, or not a whole one").with_source(error))?;
    check_kind(library.kind())?;
    let machine = format!("{:?}", library.architecture()).to_lowercase();
    if machine != std::env::consts::ARCH {
        let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
        return Err(problem(format!(
            "it is for {machine}, and this is mixflow for {arch}"
        ))
        .hint(format!("build it for this machine ({arch} {os})")));
    }
    let ends = library.segments().map(|segment| {
        let (start, size) = segment.file_range();
        start.saturating_add(size)
    });
    match ends.max() {
        Some(end) if end > length => Err(problem(format!(
            "its end is missing: it has {length} bytes of {end}"
        ))
        .hint("build or copy it again")),
        _ => Ok(()),
    }
}

/// What makes cargo build a library that can be loaded.
const CDYLIB: &str =
    "set `crate-type = [\"cdylib\"]` under `[lib]` in its `Cargo.toml`, and build it again";

/// Says what may have been meant by a path at which there is nothing.
fn what_there_is(path: &Path) -> String {
    let beside = path.with_extension("rlib");
    if beside.is_file() {
        let beside = beside.display();
        return format!("cargo has made `{beside}`, which cannot be loaded: {CDYLIB}");
    }
    // The other one of the two that cargo makes.
    let other = |from: &str, to: &str| {
        let parts: Vec<_> = path
            .iter()
            .map(|part| if part == from { to.as_ref() } else { part })
            .collect();
        let other: PathBuf = parts.into_iter().collect();
        (other != path && other.is_file()).then_some(other)
    };
    match other("release", "debug").or_else(|| other("debug", "release")) {
        Some(other) => {
            format!(
                "there is `{}`: name that, or build this one",
                other.display()
            )
        }
        None => "build it first, such as with `cargo build --release`".to_owned(),
    }
}

/// Finds files that have no headers of a library, by how they begin.
fn check_beginning(file: &mut File) -> Result<()> {
    const ARCHIVE: &[u8] = b"!<arch>\n";
    let mut beginning = [0; ARCHIVE.len()];
    let mut read = 0;
    let unreadable = |error| problem("it cannot be read").with_source(error);
    while read < beginning.len() {
        match file.read(&mut beginning[read..]).map_err(unreadable)? {
            0 => break,
            n => read += n,
        }
    }
    file.rewind().map_err(unreadable)?;
    if beginning[..read] == *ARCHIVE {
        let what = "it is an `.rlib` or `.a`, which the compiler reads and nobody can load";
        return Err(problem(what).hint(CDYLIB));
    }
    if read == 0 {
        return Err(problem("it is empty").hint("build or copy it again"));
    }
    if beginning[..read].starts_with(b"#!") {
        let what = "it is a script; a sink of type `exec` runs those";
        return Err(problem(what).hint("set `type = \"exec\"` and `command`"));
    }
    Ok(())
}

/// Finds what has the headers of a library and is none.
fn check_kind(kind: ObjectKind) -> Result<()> {
    match kind {
        ObjectKind::Executable => Err(problem("it is a program, not a library").hint(CDYLIB)),
        ObjectKind::Relocatable => {
            Err(problem("it is an object file, not yet linked").hint(CDYLIB))
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
unsafe fn open(file: &Path) -> Result<libloading::Library, libloading::Error> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // Now: a symbol that is missing is told here, not by the end of the
    // process in the middle of a run.
    // SAFETY: passed on to the caller.
    unsafe { Library::open(Some(file), RTLD_NOW | RTLD_LOCAL) }.map(Into::into)
}

#[cfg(not(unix))]
unsafe fn open(file: &Path) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: passed on to the caller.
    unsafe { libloading::Library::new(file) }
}

fn check_version(theirs: Version) -> Result<()> {
    if theirs.major == VERSION.major {
        return Ok(());
    }
    let (way, hint) = if theirs.major < VERSION.major {
        ("older", "build it again with a newer mixflow-sink-abi")
    } else {
        (
            "newer",
            "use a newer mixflow, or build it with an older mixflow-sink-abi",
        )
    };
    Err(problem(format!(
        "it is {way}: it was built for version {}.{} of the plugin interface, this mixflow has {}.{}",
        theirs.major, theirs.minor, VERSION.major, VERSION.minor
    ))
    .hint(hint))
}

/// Looks at a table before anything of it is called.
///
/// # Safety
///
/// `table` is null, or points to something that is as long as it says.
unsafe fn checked(table: *const Table) -> Result<(Functions, String, Version)> {
    if table.is_null() {
        return Err(problem("its table of functions is null"));
    }
    if !table.is_aligned() {
        return Err(problem("its table of functions is not aligned"));
    }
    // SAFETY: by this function's contract there are at least these fields,
    // which every version has in front.
    let (magic, version, size) = unsafe {
        (
            (&raw const (*table).magic).read(),
            (&raw const (*table).version).read(),
            (&raw const (*table).size).read(),
        )
    };
    if magic != MAGIC {
        return Err(problem("its table of functions begins with something else"));
    }
    check_version(version)?;
    if size < Table::SIZE_1_0 {
        return Err(problem(format!(
            "its table of functions is too short: {size} bytes, not {}",
            Table::SIZE_1_0
        )));
    }
    // SAFETY: it is as long as it says, and stays for the life of the process.
    let table = unsafe { widened(table, size) };
    let functions = Functions::of(&table)?;
    // SAFETY: static text, by the rules of the boundary.
    match unsafe { table.name.get() } {
        Ok(name) if !name.is_empty() => Ok((functions, name.to_owned(), version)),
        Ok(_) => Err(problem("it does not say what the sink is called")),
        Err(error) => Err(problem("its name is not UTF-8").with_source(error)),
    }
}

/// Copies a table of an older minor version, whose end is missing, or of a newer
/// one, which has more than is known here. What is missing is null.
///
/// # Safety
///
/// `table` points to `size` bytes, which are at least [`Table::SIZE_1_0`].
unsafe fn widened(table: *const Table, size: usize) -> Table {
    let mut copy = MaybeUninit::<Table>::zeroed();
    // SAFETY: both are as long as the shorter of them.
    unsafe {
        let bytes = size.min(size_of::<Table>());
        ptr::copy_nonoverlapping(table.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), bytes);
    }
    // SAFETY: integers, raw pointers and optional functions may be all zeros,
    // and the rest is a copy of a table.
    unsafe { copy.assume_init() }
}
