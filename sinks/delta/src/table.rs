//! A table as it is at one version.

use std::collections::BTreeSet;
use std::path::Path;

use arrow::array::{Array as _, AsArray as _, RecordBatch, StructArray};
use arrow::datatypes::Int64Type;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::schema::StructField;
use delta_kernel::snapshot::{Snapshot, SnapshotRef};
use delta_kernel::{FilteredEngineData, Version};
use jiff::Timestamp;
use jiff::civil::Date;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_parquet::files::{DAY_COLUMN, FileLedger};
use serde_json::Value;

use crate::columns::DATE;
use crate::ledger::TableLedger;
use crate::names::is_ours;
use crate::place::Place;

/// Where a table says that it is ours, with the version of what we write in it.
pub(crate) const MARK: &str = "mixflow.version";

/// The folder of commits.
const LOG: &str = "_delta_log";

/// What the names of all begin with that we leave beside a table.
const OURS: &str = "_mixflow";

/// Files that are looked at in a folder without a table before it is called
/// foreign or ours.
const LOOKED_AT: usize = 1_000;

/// A table at a version.
pub(crate) struct Table {
    pub(crate) snapshot: SnapshotRef,
    pub(crate) ledger: TableLedger,
    pub(crate) by_date: bool,
}

impl Table {
    /// Looks at a place; `None` if no table is there. Changes nothing.
    ///
    /// Fails with [`ErrorKind::Destination`] if there is something that is not
    /// ours.
    pub(crate) fn look(place: &Place) -> Result<Option<Table>> {
        place.check_parent()?;
        if place.list(LOG, 1)?.is_empty() && is_free(place)? {
            return Ok(None);
        }
        let engine = place.engine();
        let snapshot = Snapshot::builder_for(place.url())
            .build(engine)
            .map_err(place.failed("read the Delta table"))?;
        let configuration = snapshot.metadata_configuration();
        if !configuration.contains_key(MARK) {
            return Err(foreign(place, "it was not made by mixflow"));
        }
        let by_date = match snapshot
            .table_configuration()
            .metadata()
            .partition_columns()
        {
            [] => false,
            [date] if date == DATE => true,
            other => {
                let columns = other.join(", ");
                return Err(foreign(place, &format!("it is partitioned by {columns}")));
            }
        };
        let domains = snapshot
            .get_all_domain_metadata(engine)
            .map_err(place.failed("read the ledger of the Delta table"))?;
        let ledger = TableLedger::read(place.shown(), domains)?;
        Ok(Some(Table {
            ledger,
            snapshot,
            by_date,
        }))
    }

    pub(crate) fn version(&self) -> Version {
        self.snapshot.version()
    }

    /// Returns the columns without the one that the table is partitioned by.
    pub(crate) fn columns(&self) -> Vec<StructField> {
        let schema = self.snapshot.schema();
        let columns = schema
            .fields()
            .filter(|field| !self.by_date || field.name() != DATE);
        columns.cloned().collect()
    }

    /// Returns what the table holds, without days whose files somebody has removed.
    ///
    /// A file that has gone while another one that is not ours stands in its
    /// partition was made one with others: its rows are there.
    pub(crate) fn held(&self, place: &Place) -> Result<FileLedger> {
        let files = self.files(place)?.live;
        let owners = self.ledger.files.owners();
        let (mut there, mut made_one) = (BTreeSet::new(), BTreeSet::new());
        for file in files {
            if !owners.contains_key(Path::new(&file.path)) {
                made_one.insert(file.date);
            }
            there.insert(file.path);
        }
        let date = |path: &str| path.strip_prefix("date=")?.split('/').next()?.parse().ok();
        let is_there = |path: &str| there.contains(path) || made_one.contains(&date(path));
        Ok(self.ledger.files.clone().without_lost_files(is_there))
    }

    /// Lists the files of which the table consists.
    pub(crate) fn files(&self, place: &Place) -> Result<Files> {
        let engine = place.engine();
        let failed = || place.failed("list the files of the Delta table");
        let scan = self
            .snapshot
            .clone()
            .scan_builder()
            .build()
            .map_err(failed())?;
        let mut files = Files::default();
        for found in scan.scan_metadata(engine).map_err(failed())? {
            let (data, mut selected) = found.map_err(failed())?.scan_files.into_parts();
            let data = ArrowEngineData::try_from_engine_data(data).map_err(failed())?;
            let batch = data.record_batch().clone();
            selected.resize(batch.num_rows(), true);
            files.add(&batch, &selected)?;
            files.batches.push(batch);
        }
        Ok(files)
    }
}

/// The files of a table, and what the kernel says of them, to have them removed.
#[derive(Default)]
pub(crate) struct Files {
    batches: Vec<RecordBatch>,
    pub(crate) live: Vec<LiveFile>,
}

/// A file of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveFile {
    /// Relative to the folder, with `/` between.
    pub(crate) path: String,
    /// The day that it is the partition of.
    pub(crate) date: Option<Date>,
    /// Its rows, if it says how many.
    pub(crate) rows: Option<u64>,
    /// The first and the last time of its rows, in microseconds since 1970, if
    /// it says so; a millisecond wider than they are.
    pub(crate) times: Option<(i64, i64)>,
    /// Whether some of its rows were deleted without writing it anew.
    pub(crate) has_deletions: bool,
    at: (usize, usize),
}

impl Files {
    fn add(&mut self, batch: &RecordBatch, selected: &[bool]) -> Result<()> {
        let damaged = || {
            Error::new(ErrorKind::Other, "cannot list the files of the Delta table")
                .because("the kernel gave another form of list than it says")
        };
        let column = |name: &str| batch.column_by_name(name).ok_or_else(damaged);
        let paths = column("path")?.as_string_opt::<i32>().ok_or_else(damaged)?;
        let stats = column("stats")?
            .as_string_opt::<i32>()
            .ok_or_else(damaged)?;
        let deletions = column("deletionVector")?
            .as_struct_opt()
            .ok_or_else(damaged)?;
        let constants = column("fileConstantValues")?
            .as_struct_opt()
            .ok_or_else(damaged)?;
        for row in (0..batch.num_rows()).filter(|row| selected[*row]) {
            let stats = stats.is_valid(row).then(|| stats.value(row));
            let stats: Option<Value> = stats.and_then(|text| serde_json::from_str(text).ok());
            self.live.push(LiveFile {
                path: decoded(paths.value(row)),
                date: date_of(constants, row),
                rows: stats
                    .as_ref()
                    .and_then(|stats| stats["numRecords"].as_u64()),
                times: stats.as_ref().and_then(times_of),
                has_deletions: has_deletions(deletions, row),
                at: (self.batches.len(), row),
            });
        }
        Ok(())
    }

    /// Returns what the kernel is told of files that go.
    pub(crate) fn removal<'f>(
        &self,
        gone: impl IntoIterator<Item = &'f LiveFile>,
    ) -> Result<Vec<FilteredEngineData>> {
        let gone: BTreeSet<(usize, usize)> = gone.into_iter().map(|file| file.at).collect();
        let mut removals = Vec::new();
        for (n, batch) in self.batches.iter().enumerate() {
            let rows = 0..batch.num_rows();
            let selected: Vec<bool> = rows.map(|row| gone.contains(&(n, row))).collect();
            if selected.contains(&true) {
                let data = Box::new(ArrowEngineData::new(batch.clone()));
                let removal = FilteredEngineData::try_new(data, selected);
                removals.push(removal.map_err(crate::failed::failed("remove files"))?);
            }
        }
        Ok(removals)
    }
}

/// Returns a path as it is, of one as it stands in the log.
fn decoded(path: &str) -> String {
    let url = url::Url::parse("file:///").and_then(|base| base.join(path));
    let decoded = url.ok().and_then(|url| url.to_file_path().ok());
    let decoded = decoded.and_then(|path| path.to_str().map(|path| path[1..].to_owned()));
    decoded.unwrap_or_else(|| path.to_owned())
}

fn date_of(constants: &StructArray, row: usize) -> Option<Date> {
    let values = constants.column_by_name("partitionValues")?.as_map_opt()?;
    let values = values.is_valid(row).then(|| values.value(row))?;
    let (keys, texts) = (
        values.column(0).as_string_opt::<i32>()?,
        values.column(1).as_string_opt::<i32>()?,
    );
    let at = (0..keys.len()).find(|at| keys.value(*at) == DATE)?;
    texts.is_valid(at).then(|| texts.value(at).parse().ok())?
}

/// Returns the first and the last time that statistics say.
fn times_of(stats: &Value) -> Option<(i64, i64)> {
    let time = |which: &str| {
        let time: Timestamp = stats[which][DAY_COLUMN].as_str()?.parse().ok()?;
        Some(time.as_microsecond())
    };
    // They are cut to milliseconds.
    Some((time("minValues")?, time("maxValues")? + 999))
}

fn has_deletions(deletions: &StructArray, row: usize) -> bool {
    let kind = deletions.column_by_name("storageType");
    deletions.is_valid(row)
        && kind
            .and_then(|kind| kind.as_string_opt::<i32>())
            .is_some_and(|kind| kind.is_valid(row))
        && deletions
            .column_by_name("cardinality")
            .and_then(|count| count.as_primitive_opt::<Int64Type>())
            .is_none_or(|count| !count.is_valid(row) || count.value(row) > 0)
}

/// Returns whether a folder without a table is without one still.
///
/// Fails if there is anything in it but what runs of ours have there that never
/// committed, or not yet.
fn is_free(place: &Place) -> Result<bool> {
    for (path, _) in place.list("", LOOKED_AT)? {
        if path.starts_with(LOG) {
            // Another run was quicker.
            return Ok(false);
        }
        if !is_ours(&path) && !path.starts_with(OURS) {
            let why = format!("there is no table, but `{path}` is in it");
            return Err(foreign(place, &why));
        }
    }
    Ok(true)
}

fn foreign(place: &Place, why: &str) -> Error {
    Error::new(
        ErrorKind::Destination,
        format!("cannot write the Delta table `{}`", place.shown()),
    )
    .because(why)
    .hint("choose a folder for these rows alone")
}
