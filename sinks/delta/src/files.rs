//! The files that a run writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;

use arrow::array::{RecordBatch, StructArray};
use arrow::datatypes::SchemaRef;
use delta_kernel::expressions::ColumnName;
use delta_kernel::schema::StructType;
use delta_kernel_default_engine::stats::FileStatsAccumulator;
use mixflow_core::cancel::CancelToken;
use mixflow_core::staged::{cannot, link_or_copy};
use mixflow_core::whole_file::{FilePlace, WholeFile};
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_objects::{Copying, Upload};
use mixflow_sink_parquet::files::{Home, Target, Writer, other_form, relieve_all, with_zones};
use parquet::file::properties::WriterProperties;

use crate::columns::to_stored;
use crate::failed::failed;
use crate::leftovers::{Mark, remove_empty};
use crate::place::Place;

/// Files that are open at once. Each that goes to a store holds some parts.
const OPEN_FILES: usize = 16;

/// A file that is written to its end.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) path: String,
    pub(crate) home: Home,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) modified_ms: i64,
    /// What Delta calls statistics: rows, nulls, smallest and largest values.
    pub(crate) stats: StructArray,
}

/// How files are written.
#[derive(Clone)]
pub(crate) struct Form {
    /// The columns of the files.
    pub(crate) schema: SchemaRef,
    pub(crate) columns: StructType,
    pub(crate) with_statistics: Vec<ColumnName>,
    pub(crate) properties: WriterProperties,
    /// Tells that the run is to stop.
    pub(crate) cancel: CancelToken,
}

impl Form {
    /// Returns what counts the values of a file.
    pub(crate) fn counter(&self) -> FileStatsAccumulator {
        FileStatsAccumulator::new(&self.with_statistics, &self.columns)
    }
}

/// Writes the files of one run, those of several days at once.
pub(crate) struct Files {
    place: Rc<Place>,
    form: Form,
    open: BTreeMap<Home, Open>,
    /// The paths of all files that were begun.
    begun: Vec<String>,
    done: Vec<Written>,
    /// Files of the store that become the run's when it commits.
    copies: Vec<Copying>,
    clock: u64,
}

struct Open {
    path: String,
    writer: Writer<Way>,
    stats: FileStatsAccumulator,
    rows: u64,
    /// When it was last written to.
    used: u64,
}

/// Where the bytes of a file go.
enum Way {
    File(File),
    Upload(Box<Upload>),
}

impl Files {
    pub(crate) fn new(place: &Rc<Place>, form: Form) -> Files {
        Files {
            place: Rc::clone(place),
            form,
            open: BTreeMap::new(),
            begun: Vec::new(),
            done: Vec::new(),
            copies: Vec::new(),
            clock: 0,
        }
    }

    /// Writes rows that belong together.
    pub(crate) fn write(&mut self, mark: &Mark, home: Home, records: &RecordBatch) -> Result<()> {
        let records = to_stored(records, &self.form.schema)?;
        let records = with_zones(&records, &self.form.schema)?;
        self.clock += 1;
        if !self.open.contains_key(&home) {
            if self.open.len() >= OPEN_FILES {
                self.finish_oldest()?;
            }
            let open = self.begin(mark, home)?;
            self.open.insert(home, open);
        }
        if let Some(open) = self.open.get_mut(&home) {
            open.used = self.clock;
            open.rows += records.num_rows() as u64;
            let what = format!("count the values of `{}`", open.path);
            open.stats.merge(&records).map_err(failed(what))?;
            open.writer.write(&records)?;
        }
        relieve_all(self.open.values_mut().map(|open| &mut open.writer))
    }

    /// Takes a file that is there already.
    pub(crate) fn take(
        &mut self,
        mark: &Mark,
        file: &WholeFile,
        home: Home,
        stats: StructArray,
    ) -> Result<()> {
        let path = mark.next_file(home.folder);
        self.begun.push(path.clone());
        match (self.place.folder(), &file.place) {
            (Some(folder), FilePlace::Local(from)) => {
                let to = folder.join(&path);
                let what = format!("take `{}` into `{}`", from.display(), self.place.shown());
                std::fs::create_dir_all(to.parent().unwrap_or(folder))
                    .and_then(|()| link_or_copy(from, &to))
                    .map_err(cannot(what))?;
            }
            _ => self.copies.push(Copying {
                from: self.place.path_of_file(file).ok_or_else(other_form)?,
                to: path.clone(),
                bytes: file.bytes,
            }),
        }
        self.done.push(Written {
            path,
            home,
            rows: file.rows,
            bytes: file.bytes,
            modified_ms: mixflow_core::clock::now().as_millisecond(),
            stats,
        });
        Ok(())
    }

    /// Ends all files, and returns them.
    pub(crate) fn finish(&mut self) -> Result<&[Written]> {
        while let Some((home, open)) = self.open.pop_first() {
            self.end(home, open)?;
        }
        let copies = std::mem::take(&mut self.copies);
        self.place.objects(&self.form.cancel).copy_all(&copies)?;
        Ok(&self.done)
    }

    /// Returns the files that are written to their end.
    pub(crate) fn done(&self) -> &[Written] {
        &self.done
    }

    /// Removes all that was written, for a run that is given up. What cannot be
    /// removed is left to the next run.
    pub(crate) fn remove(&mut self) -> Result<()> {
        for mut open in std::mem::take(&mut self.open).into_values() {
            open.writer.target().give_up();
        }
        self.done.clear();
        let mut result = Ok(());
        for path in std::mem::take(&mut self.begun) {
            let removed = self.place.delete(&path);
            remove_empty(&self.place, &path);
            result = result.and(removed);
        }
        result
    }

    fn begin(&mut self, mark: &Mark, home: Home) -> Result<Open> {
        let path = mark.next_file(home.folder);
        let shown = format!("{}/{path}", self.place.shown().trim_end_matches('/'));
        self.begun.push(path.clone());
        let way = match self.place.folder() {
            Some(folder) => Way::create(&folder.join(&path))
                .map_err(cannot(format_args!("create `{shown}`")))?,
            None => Way::Upload(Box::new(
                self.place.objects(&self.form.cancel).writer(&path),
            )),
        };
        let Form {
            schema, properties, ..
        } = &self.form;
        Ok(Open {
            path,
            writer: Writer::new(way, schema, properties, shown)?,
            stats: self.form.counter(),
            rows: 0,
            used: 0,
        })
    }

    fn end(&mut self, home: Home, open: Open) -> Result<()> {
        let what = format!("count the values of `{}`", open.path);
        let stats = finished(open.stats, &what)?;
        let bytes = open.writer.finish()?;
        self.done.push(Written {
            path: open.path,
            home,
            rows: open.rows,
            bytes,
            modified_ms: mixflow_core::clock::now().as_millisecond(),
            stats,
        });
        Ok(())
    }

    fn finish_oldest(&mut self) -> Result<()> {
        let oldest = self.open.iter().min_by_key(|(_, open)| open.used);
        let oldest = oldest.map(|(home, _)| *home);
        match oldest.and_then(|home| Some((home, self.open.remove(&home)?))) {
            Some((home, open)) => self.end(home, open),
            None => Ok(()),
        }
    }
}

/// Returns what was counted of a file that has had a batch.
pub(crate) fn finished(counter: FileStatsAccumulator, what: &str) -> Result<StructArray> {
    let stats = counter.finish().map_err(failed(what))?;
    stats.ok_or_else(|| Error::new(ErrorKind::Other, format!("cannot {what}")))
}

impl Way {
    fn create(path: &Path) -> io::Result<Way> {
        std::fs::create_dir_all(path.parent().unwrap_or(path))?;
        File::create_new(path).map(Way::File)
    }
}

impl Write for Way {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Way::File(file) => file.write(bytes),
            Way::Upload(upload) => upload.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Way::File(file) => file.flush(),
            Way::Upload(upload) => upload.flush(),
        }
    }
}

impl Target for Way {
    fn finish(self) -> io::Result<u64> {
        match self {
            Way::File(file) => file.finish(),
            Way::Upload(upload) => upload.finish(),
        }
    }

    fn give_up(&mut self) {
        if let Way::Upload(upload) = self {
            upload.give_up();
        }
    }
}
