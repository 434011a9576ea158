//! The form of a sink's files, for whoever writes one that a run takes as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use jiff::tz::TimeZone;
use mixflow_core::ledger::DayCounter;
use mixflow_core::sink::TxnContext;
use mixflow_core::source::Extent;
use mixflow_core::unit::Dataset;
use mixflow_core::whole_file::{FileForm, FileWriter, WholeFile};
use mixflow_core::{Error, ErrorKind, Result};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::days::{Home, has_day, homes, zone_of};
use crate::times::Times;
use crate::writer::{Compression, Target, Writer, properties};

/// What a later mixflow raises when it writes the same rows in another way.
const VERSION: u32 = 1;

/// Homes that are noted of a file: one that has so many is taken by nobody.
const MOST_HOMES: usize = 64;

/// The kind of the files of this sink's folders.
fn folder() -> Value {
    json!({ "format": "parquet" })
}

/// Returns where all rows of a file belong that is in the form of a folder; `None` of
/// any other file.
pub(crate) fn home(form: &Form, by_day: bool, file: &WholeFile) -> Option<Home> {
    let notes = form.notes_of(file)?;
    match by_day {
        true => notes.home(true),
        false => Some(Home::default()),
    }
}

/// Returns the error of a file that was to be taken and cannot be.
pub fn other_form() -> Error {
    Error::new(
        ErrorKind::Other,
        "a file is not in the form of the destination's",
    )
}

/// How a sink writes its files.
#[derive(Clone, Debug)]
pub struct Form {
    key: Value,
    schema: SchemaRef,
    properties: WriterProperties,
    has_day: bool,
    zone: TimeZone,
}

/// What is noted of a file.
#[derive(Debug, Serialize, Deserialize)]
pub struct FileNotes {
    /// The form in which it is.
    form: Value,
    /// Where its rows belong.
    homes: BTreeSet<Home>,
    /// What a lake table says of the values in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<String>,
}

impl Form {
    /// Returns the form of the files of a folder that a run makes: of an older one it
    /// may be another, and then none of these files is taken.
    pub(crate) fn of_new_folder(cx: &TxnContext, compression: Compression) -> Form {
        let properties = properties(cx, compression);
        let cx = TxnContext {
            schema: Times::Utc.stored(&cx.schema),
            ..cx.clone()
        };
        Form::of_folder(&cx, properties)
    }

    /// Returns the form of the files of a folder, of which `cx` has the columns.
    pub(crate) fn of_folder(cx: &TxnContext, properties: WriterProperties) -> Form {
        let (schema, dataset) = (&cx.schema, &cx.source.dataset);
        Form::new(folder(), schema, properties, has_day(schema), dataset)
    }

    /// Returns the form of files of `kind` whose columns are those of `schema`.
    /// `has_day` says whether their rows have a time that says their day.
    pub fn new(
        kind: Value,
        schema: &SchemaRef,
        properties: WriterProperties,
        has_day: bool,
        dataset: &Dataset,
    ) -> Form {
        let columns = schema.fields().iter().map(|field| column(field));
        let columns: Vec<String> = columns.collect();
        let codec = properties.compression(&ColumnPath::from(Vec::new()));
        Form {
            key: json!({
                "kind": kind,
                "version": VERSION,
                "compression": codec.to_string(),
                "columns": columns,
            }),
            schema: schema.clone(),
            properties,
            has_day,
            zone: zone_of(dataset),
        }
    }

    /// Returns what is noted of a file that is in this form; `None` of any other.
    pub fn notes_of(&self, file: &WholeFile) -> Option<FileNotes> {
        let notes = FileNotes::deserialize(&file.notes).ok()?;
        (notes.form == self.key).then_some(notes)
    }

    /// Begins a file.
    pub fn file(&self, target: Box<dyn Write + Send>) -> Result<FormFile> {
        let target = Given { target, bytes: 0 };
        let shown = "the file of a unit".to_owned();
        Ok(FormFile {
            writer: Writer::new(target, &self.schema, &self.properties, shown)?,
            form: self.clone(),
            days: None,
            homes: BTreeSet::new(),
        })
    }
}

/// Returns all that a file says of a column.
fn column(field: &Field) -> String {
    let notes: BTreeMap<_, _> = field.metadata().iter().collect();
    let nullable = if field.is_nullable() { "" } else { " not null" };
    let column = format!("{} {}{nullable}", field.name(), field.data_type());
    match notes.is_empty() {
        true => column,
        false => format!("{column} {}", json!(notes)),
    }
}

impl FileNotes {
    /// Returns where all rows of the file belong; `None` if not to one place. Without
    /// `by_date` the day that they lie in says nothing.
    pub fn home(&self, by_date: bool) -> Option<Home> {
        if self.homes.len() >= MOST_HOMES {
            return None;
        }
        let homes = self.homes.iter().map(|home| Home {
            folder: home.folder.filter(|_| by_date),
            ..*home
        });
        let mut homes: BTreeSet<Home> = homes.collect();
        let only = homes.pop_first()?;
        homes.is_empty().then_some(only)
    }
}

impl FileForm for Form {
    fn begin(&self, target: Box<dyn Write + Send>) -> Result<Box<dyn FileWriter>> {
        Ok(Box::new(self.file(target)?))
    }
}

/// A file that is being written in a form.
pub struct FormFile {
    writer: Writer<Given>,
    form: Form,
    days: Option<DayCounter>,
    homes: BTreeSet<Home>,
}

impl FormFile {
    /// Ends the file, and returns what is noted of it.
    pub fn end(self) -> Result<FileNotes> {
        self.writer.finish()?;
        Ok(FileNotes {
            form: self.form.key,
            homes: self.homes,
            statistics: None,
        })
    }
}

impl FileWriter for FormFile {
    fn partition(&mut self, extent: &Extent) -> Result<()> {
        self.days = match extent {
            Extent::Days(range) => Some(DayCounter::new(range, &self.form.zone)),
            Extent::Page(_) | Extent::Whole => None,
        };
        Ok(())
    }

    fn write(&mut self, records: &RecordBatch) -> Result<()> {
        if !self.form.has_day {
            self.homes.insert(Home::default());
        } else if self.homes.len() < MOST_HOMES {
            let room = MOST_HOMES - self.homes.len();
            self.homes.extend(homes(records, self.days.as_ref(), room)?);
        }
        self.writer.write(records)
    }

    fn finish(self: Box<Self>) -> Result<Value> {
        self.end()?.into_value()
    }
}

impl FileNotes {
    /// Returns the notes as they travel.
    pub fn into_value(self) -> Result<Value> {
        serde_json::to_value(self).map_err(|error| {
            Error::new(ErrorKind::Other, "cannot note what is in a file").with_source(error)
        })
    }
}

/// What somebody else gave for the bytes of a file.
struct Given {
    target: Box<dyn Write + Send>,
    bytes: u64,
}

impl Write for Given {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.target.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }
}

impl Target for Given {
    /// Whoever gave it has it arrive.
    fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        Ok(self.bytes)
    }
}
