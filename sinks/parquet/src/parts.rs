//! The files that a run writes into a folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use jiff::civil::Date;
use mixflow_core::Result;
use mixflow_core::staged::{cannot, link_or_copy};
use mixflow_core::whole_file::{FilePlace, WholeFile};
use mixflow_core::{Error, ErrorKind};
use parquet::file::properties::WriterProperties;

use crate::days::Home;
use crate::writer::{Target, Writer, relieve_all};

/// Where files are made before they count.
pub(crate) trait Room {
    /// What a file is there.
    type Target: Target;

    /// Files that are open at once.
    const OPEN: usize;

    /// Makes the file that is to be at `path`, relative to the folder.
    fn create(&self, path: &str) -> Result<Self::Target>;

    /// Has a file that is there already be at `path`, by the commit at the latest.
    fn take(&self, path: &str, file: &WholeFile) -> Result<()>;
}

/// A folder that is built beside the one that it is to become.
pub(crate) struct Beside {
    /// The folder as people know it.
    pub(crate) shown: PathBuf,
    pub(crate) staged: PathBuf,
}

impl Beside {
    /// Returns where the file at `path` is built, in a folder that is there.
    fn target(&self, path: &str) -> std::io::Result<PathBuf> {
        let target = self.staged.join(path);
        fs::create_dir_all(target.parent().unwrap_or(&self.staged))?;
        Ok(target)
    }
}

impl Room for Beside {
    type Target = File;
    /// Far below the 1,024 that a process may have.
    const OPEN: usize = 64;

    fn create(&self, path: &str) -> Result<File> {
        let shown = self.shown.join(path);
        self.target(path)
            .and_then(File::create_new)
            .map_err(cannot(format_args!("create `{}`", shown.display())))
    }

    fn take(&self, path: &str, file: &WholeFile) -> Result<()> {
        let FilePlace::Local(from) = &file.place else {
            let message = "a file of a bucket cannot be linked into a folder";
            return Err(Error::new(ErrorKind::Other, message));
        };
        self.target(path)
            .and_then(|target| link_or_copy(from, &target))
            .map_err(cannot(format_args!(
                "take `{}` into `{}`",
                from.display(),
                self.shown.display()
            )))
    }
}

/// A file that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Relative to the folder, with `/` between.
    pub path: String,
    /// The day that its rows were fetched for.
    pub day: Option<Date>,
}

/// Writes the files of one run, those of several days at once.
pub(crate) struct Parts<R: Room = Beside> {
    /// The folder as people know it.
    shown: PathBuf,
    room: R,
    schema: SchemaRef,
    properties: WriterProperties,
    run_id: String,
    open: BTreeMap<Home, Open<R::Target>>,
    begun: Vec<Part>,
    /// Those of them that were there already.
    taken: BTreeMap<String, WholeFile>,
    rows: BTreeMap<Home, u64>,
    clock: u64,
}

struct Open<T: Target> {
    writer: Writer<T>,
    /// When it was last written to.
    used: u64,
}

impl<R: Room> Parts<R> {
    pub(crate) fn new(
        shown: &Path,
        room: R,
        run_id: &str,
        schema: &SchemaRef,
        properties: WriterProperties,
    ) -> Parts<R> {
        Parts {
            shown: shown.to_owned(),
            room,
            schema: schema.clone(),
            properties,
            run_id: run_id.to_owned(),
            open: BTreeMap::new(),
            begun: Vec::new(),
            taken: BTreeMap::new(),
            rows: BTreeMap::new(),
            clock: 0,
        }
    }

    /// Writes rows that belong together.
    pub(crate) fn write(&mut self, home: Home, records: &RecordBatch) -> Result<()> {
        self.clock += 1;
        *self.rows.entry(home).or_default() += records.num_rows() as u64;
        if !self.open.contains_key(&home) {
            if self.open.len() >= R::OPEN {
                self.finish_oldest()?;
            }
            let writer = self.begin(home)?;
            self.open.insert(home, Open { writer, used: 0 });
        }
        if let Some(open) = self.open.get_mut(&home) {
            open.used = self.clock;
            open.writer.write(records)?;
        }
        relieve_all(self.open.values_mut().map(|open| &mut open.writer))
    }

    /// Takes a file whose rows all belong to `home`.
    pub(crate) fn take(&mut self, home: Home, file: &WholeFile) -> Result<()> {
        let path = self.next_path(home);
        self.room.take(&path, file)?;
        *self.rows.entry(home).or_default() += file.rows;
        self.taken.insert(path.clone(), file.clone());
        self.begun.push(Part {
            path,
            day: home.day,
        });
        Ok(())
    }

    /// Returns the files that were there already, by the paths that they get.
    #[cfg(feature = "objects")]
    pub(crate) fn taken(&self) -> &BTreeMap<String, WholeFile> {
        &self.taken
    }

    /// Ends all files.
    pub(crate) fn finish(&mut self) -> Result<()> {
        for (_, open) in std::mem::take(&mut self.open) {
            open.writer.finish()?;
        }
        Ok(())
    }

    /// Makes a file without rows.
    pub(crate) fn add_empty(&mut self, home: Home) -> Result<()> {
        self.begin(home)?.finish().map(drop)
    }

    /// Closes files as they are, for a run that is given up.
    pub(crate) fn close(&mut self) {
        for mut open in std::mem::take(&mut self.open).into_values() {
            open.writer.target().give_up();
        }
    }

    /// Returns the files that were begun.
    pub(crate) fn begun(&self) -> &[Part] {
        &self.begun
    }

    /// Returns the rows that were written for each home.
    pub(crate) fn rows(&self) -> &BTreeMap<Home, u64> {
        &self.rows
    }

    fn next_path(&self, home: Home) -> String {
        let name = format!("part-{}-{}.parquet", self.run_id, self.begun.len());
        match home.folder {
            Some(day) => format!("date={day}/{name}"),
            None => name,
        }
    }

    fn begin(&mut self, home: Home) -> Result<Writer<R::Target>> {
        let path = self.next_path(home);
        let shown = self.shown.join(&path).display().to_string();
        let target = self.room.create(&path)?;
        self.begun.push(Part {
            path,
            day: home.day,
        });
        Writer::new(target, &self.schema, &self.properties, shown)
    }

    fn finish_oldest(&mut self) -> Result<()> {
        let oldest = self.open.iter().min_by_key(|(_, open)| open.used);
        match oldest.map(|(home, _)| *home) {
            Some(home) => match self.open.remove(&home) {
                Some(open) => open.writer.finish().map(drop),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
}
