//! The commit of a run: what it does to what is there, tried until it is there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
};
use arrow::datatypes::{Field, Schema, SchemaRef};
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::schema::{StructField, StructType};
use delta_kernel::transaction::create_table::create_table;
use delta_kernel::transaction::data_layout::DataLayout;
use delta_kernel::transaction::{CommitResult, Transaction, UpdateTableOperation};
use delta_kernel::{FilteredEngineData, KernelError, KernelResult, Version};
use jiff::civil::Date;
use mixflow_core::Result;
use mixflow_core::sink::{Outcome, WriteMode};
use mixflow_core::staged::{cannot, folder_of, sync_folder};
use mixflow_sink_parquet::files::{Done, FileLedger, Others, Part, TRIES, pause, refused};

use super::DeltaTxn;
use crate::columns::{DATE, date_field, partition_of, struct_of};
use crate::commit::{NewColumns, Put, Way};
use crate::failed::failed;
use crate::files::{Files, Written};
use crate::going::Split;
use crate::ledger::{Changes, TableLedger, VERSION};
use crate::leftovers::Mark;
use crate::rewrite::Rewriting;
use crate::runs::{has_committed, transaction_of};
use crate::table::{LiveFile, MARK, Table};

/// Commits after which a reader is spared from reading each of them.
const COMMITS_A_CHECKPOINT: u64 = 10;

/// What commits say of who made them.
const ENGINE: &str = concat!("mixflow/", env!("CARGO_PKG_VERSION"));

/// What a commit does, besides adding files.
struct Change {
    removals: Vec<FilteredEngineData>,
    /// What stays of files that go, written anew.
    rewritten: Vec<Files>,
    ledger: Changes,
    new_columns: Vec<StructField>,
    replaced_columns: Option<NewColumns>,
    warnings: Vec<String>,
}

/// How a try to commit ended.
enum Tried {
    Committed(Version),
    Conflict,
}

impl DeltaTxn {
    /// Commits, again where others were quicker and that does not matter, and
    /// returns what people should know of it; `None` if the run, which was sent
    /// twice, has committed already.
    pub(super) fn commit_files(
        &self,
        mark: &Mark,
        written: &[Written],
        outcome: &Outcome<'_>,
    ) -> Result<Option<Vec<String>>> {
        for tried in 0..TRIES {
            let table = Table::look(&self.place)?;
            if let Some(table) = &table
                && has_committed(&self.place, table, &self.cx)?
            {
                return Ok(None);
            }
            self.check_others(table.as_ref())?;
            let change = self.change(mark, written, table.as_ref(), outcome)?;
            mark.check()?;
            let done = self.try_commit(mark, written, table.as_ref(), &change);
            match done {
                Ok(Tried::Committed(version)) => {
                    self.checkpoint(version);
                    return Ok(Some(change.warnings));
                }
                Ok(Tried::Conflict) => change.undo(),
                Err(error) => match self.is_there() {
                    Some(true) => return Ok(Some(change.warnings)),
                    Some(false) if self.place.folder().is_some() => {
                        change.undo();
                        return Err(error);
                    }
                    // What was put may still arrive.
                    _ => return Err(error.in_doubt()),
                },
            }
            self.cx.cancel.wait(pause(tried, fastrand::f64()))?;
        }
        let why = format!("others committed {TRIES} times while it was tried");
        Err(refused(&self.shown(), why).hint("run it again when fewer runs write to the table"))
    }

    fn shown(&self) -> String {
        format!("the table `{}`", self.place.shown())
    }

    /// Returns whether the commit is there after all, if that can be known.
    fn is_there(&self) -> Option<bool> {
        match Table::look(&self.place).ok()? {
            Some(table) => has_committed(&self.place, &table, &self.cx).ok(),
            None => Some(false),
        }
    }

    /// Checks that what others have committed since the run began leaves its own
    /// commit right.
    fn check_others(&self, table: Option<&Table>) -> Result<()> {
        let now = table.map(Table::version);
        if now == self.began.version {
            return Ok(());
        }
        let Some((table, version)) = table.zip(now) else {
            let why = "somebody has removed the table since this run began";
            return Err(refused(&self.shown(), why));
        };
        if self.began.version.is_some_and(|began| began > version) {
            let why = "somebody has made the table anew since this run began";
            return Err(refused(&self.shown(), why));
        }
        let found = match self.began.version {
            None => {
                format!("version {version} is there, and there was no table when this run began")
            }
            Some(before) if before + 1 == version => {
                format!("somebody else has committed version {version} since this run began")
            }
            Some(before) => format!(
                "others have committed versions {} to {version} since this run began",
                before + 1
            ),
        };
        let others = Others {
            shown: &self.shown(),
            found,
            mode: self.going.mode(),
            before: &self.began.files,
            now: &table.ledger.files,
            dataset: self.dataset(),
            days: self.going.days(),
        };
        others.check()?;
        self.check
            .preview(&self.place, Some(table), &self.cx)
            .map(drop)
    }

    /// Works out what the commit does to what is there.
    fn change(
        &self,
        mark: &Mark,
        written: &[Written],
        table: Option<&Table>,
        outcome: &Outcome<'_>,
    ) -> Result<Change> {
        let mut rows = BTreeMap::new();
        for file in written {
            *rows.entry(file.home).or_default() += file.rows;
        }
        let (mut removals, mut rewritten, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let mut ledger = FileLedger::default();
        let mut provenances = BTreeMap::new();
        if let Some(table) = table {
            let files = table.files(&self.place)?;
            let split = self.going.split(&files.live, &table.ledger.files);
            self.going.check_shrink(self.place.shown(), &split, &rows)?;
            let rewriting = Rewriting {
                place: &self.place,
                table,
                going: &self.going,
                mark,
                properties: &self.properties,
                cancel: &self.cx.cancel,
            };
            for file in &split.rewritten {
                rewritten.push(rewriting.rewrite(file)?);
            }
            removals = files.removal(gone(&split))?;
            warnings.extend(self.unknown(&split));
            if self.going.mode() != WriteMode::Replace {
                ledger = table.ledger.files.clone();
                provenances = table.ledger.provenances.clone();
            }
        }
        ledger.record(&Done {
            dataset: self.dataset(),
            units: outcome.units,
            parts: &written.iter().map(part).collect::<Vec<_>>(),
            replaced: &self.going.replaced(),
        });
        let provenance = self.cx.source.provenance.clone().unwrap_or_default();
        provenances.insert(self.dataset().key(), provenance);
        let changes = match table {
            Some(table) => table.ledger.changes(ledger, &provenances)?,
            None => TableLedger::default().changes(ledger, &provenances)?,
        };
        let (new_columns, replaced_columns) = match table {
            Some(table) => self.check.new_columns(&self.place, table, &self.cx)?,
            None => (Vec::new(), None),
        };
        Ok(Change {
            removals,
            rewritten,
            ledger: changes,
            new_columns,
            replaced_columns,
            warnings,
        })
    }

    fn unknown(&self, split: &Split<'_>) -> Option<String> {
        (split.unknown > 0).then(|| {
            format!(
                "{} files of `{}` stay, because nobody knows by which filters they were fetched; rows may stand in them, too",
                split.unknown,
                self.place.shown()
            )
        })
    }

    fn try_commit(
        &self,
        mark: &Mark,
        written: &[Written],
        table: Option<&Table>,
        change: &Change,
    ) -> Result<Tried> {
        let engine = self.place.engine();
        let what = || failed(format!("commit to the table `{}`", self.place.shown()));
        let (app, version) = transaction_of(&self.cx);
        let put = Box::new(self.put(mark, change.replaced_columns.clone()));
        let files = written
            .iter()
            .chain(change.rewritten.iter().flat_map(Files::done));
        let added = files
            .map(|file| added(file, self.by_date))
            .collect::<Result<Vec<_>>>()?;
        let Some(table) = table else {
            let mut builder = create_table(
                self.place.url().as_str(),
                Arc::new(self.columns()?),
                ENGINE,
                true,
            )
            .with_table_properties([
                (MARK, VERSION.to_string()),
                ("delta.feature.domainMetadata", "supported".to_owned()),
            ])
            .with_transaction_id(app, version);
            if self.by_date {
                builder = builder.with_data_layout(DataLayout::partitioned([DATE]));
            }
            for (name, text) in &change.ledger.set {
                builder = builder.with_domain_metadata(name, text);
            }
            let mut txn = match builder.build(engine, put) {
                Ok(txn) => txn,
                // The kernel looks once more, and fails where a table has come to be.
                Err(_) if Table::look(&self.place)?.is_some() => return Ok(Tried::Conflict),
                Err(error) => return Err(what()(error)),
            };
            added.into_iter().for_each(|file| txn.add_files(file));
            return tried(txn.commit(engine)).map_err(what());
        };
        let mode = match self.going.mode() {
            WriteMode::Append | WriteMode::Create => "Append",
            WriteMode::Replace | WriteMode::ReplaceWindow => "Overwrite",
        };
        let mut builder = table
            .snapshot
            .clone()
            .update_table(UpdateTableOperation::Write, ENGINE, true)
            .with_transaction_id(app, version)
            .with_operation_parameters([
                ("mode", Some(mode)),
                ("mixflowMode", Some(self.going.mode().as_str())),
                ("mixflowRun", Some(self.cx.run_id.as_str())),
            ]);
        for (name, text) in &change.ledger.set {
            builder = builder.with_domain_metadata(name, text);
        }
        for name in &change.ledger.gone {
            builder = builder.with_domain_metadata_removed(name);
        }
        for column in &change.new_columns {
            builder = builder.add_column(column.clone());
        }
        let mut txn: Transaction = builder.build(engine, put).map_err(what())?;
        added.into_iter().for_each(|file| txn.add_files(file));
        for removal in &change.removals {
            txn.remove_files(copy(removal).map_err(what())?);
        }
        tried(txn.commit(engine)).map_err(what())
    }

    fn put(&self, mark: &Mark, columns: Option<NewColumns>) -> Put {
        let way = match self.place.folder() {
            Some(folder) => Way::Folder {
                folder: folder.to_owned(),
                staged: folder.join(mark.staged()),
            },
            None => Way::Store {
                store: Arc::clone(self.place.store()),
                runtime: self.place.runtime().clone(),
                log: self.place.key("_delta_log"),
            },
        };
        Put { way, columns }
    }

    /// Returns the columns of a table that is made for these rows.
    fn columns(&self) -> Result<StructType> {
        let mut fields = self.check.fields(&self.cx.schema)?;
        if self.by_date {
            fields.push(date_field());
        }
        struct_of(fields)
    }

    /// Has files and the names of their folders survive a power cut.
    pub(super) fn sync_folders(&self, written: &[Written]) -> Result<()> {
        let Some(root) = self.place.folder() else {
            return Ok(());
        };
        let days: BTreeSet<Option<Date>> = written.iter().map(|file| file.home.folder).collect();
        let folders = days
            .into_iter()
            .flatten()
            .map(|day| root.join(format!("date={day}")));
        for folder in folders.chain([root.to_owned(), folder_of(root).to_owned()]) {
            sync_folder(&folder).map_err(cannot(format_args!("sync `{}`", folder.display())))?;
        }
        Ok(())
    }

    /// Spares readers from reading each commit, now and then. The table is whole
    /// without.
    fn checkpoint(&self, version: Version) {
        if version == 0 || !version.is_multiple_of(COMMITS_A_CHECKPOINT) {
            return;
        }
        let made = Table::look(&self.place).and_then(|table| {
            let Some(table) = table else { return Ok(()) };
            let snapshot = &table.snapshot;
            let made = snapshot.checkpoint(self.place.engine(), None);
            made.map(drop)
                .map_err(self.place.failed("write a checkpoint of the table"))
        });
        if let Err(error) = made {
            log::warn!("{}", error.in_a_line());
        }
    }
}

impl Change {
    /// Removes what was written for a commit that did not come to be.
    fn undo(self) {
        for mut files in self.rewritten {
            if let Err(error) = files.remove() {
                log::warn!("{}", error.in_a_line());
            }
        }
    }
}

fn gone<'f>(split: &Split<'f>) -> impl Iterator<Item = &'f LiveFile> {
    let whole = split.gone.iter().map(|(file, _)| *file);
    whole.chain(split.rewritten.iter().copied())
}

/// Returns what the kernel is told of a file.
pub(crate) fn added(file: &Written, by_date: bool) -> Result<Box<ArrowEngineData>> {
    let partition = if by_date {
        partition_of(file.home.folder)
    } else {
        HashMap::new()
    };
    let names = MapFieldNames {
        entry: "key_value".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    };
    let mut values = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for (name, value) in &partition {
        values.keys().append_value(name);
        values.values().append_option(value.as_deref());
    }
    values.append(true)?;
    let bytes = i64::try_from(file.bytes).unwrap_or(i64::MAX);
    let columns: [(&str, ArrayRef, bool); 5] = [
        (
            "path",
            Arc::new(StringArray::from(vec![file.path.as_str()])),
            false,
        ),
        ("partitionValues", Arc::new(values.finish()), false),
        ("size", Arc::new(Int64Array::from(vec![bytes])), false),
        (
            "modificationTime",
            Arc::new(Int64Array::from(vec![file.modified_ms])),
            false,
        ),
        ("stats", Arc::new(file.stats.clone()), true),
    ];
    let fields = columns
        .iter()
        .map(|(name, column, nullable)| Field::new(*name, column.data_type().clone(), *nullable));
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, column, _)| column);
    let batch = RecordBatch::try_new(schema, columns.collect())?;
    Ok(Box::new(ArrowEngineData::new(batch)))
}

fn part(file: &Written) -> Part {
    Part {
        path: file.path.clone(),
        day: file.home.day,
    }
}

/// The kernel takes what it is told of files that go, and a commit may be tried
/// again.
fn copy(removal: &FilteredEngineData) -> KernelResult<FilteredEngineData> {
    let data = removal.data().any_ref().downcast_ref::<ArrowEngineData>();
    let batch = data.map(|data| data.record_batch().clone());
    let batch = batch.ok_or_else(|| KernelError::generic("a list of files is not Arrow"))?;
    let selected = removal.selection_vector().to_vec();
    FilteredEngineData::try_new(Box::new(ArrowEngineData::new(batch)), selected)
}

fn tried<S>(done: KernelResult<CommitResult<S>>) -> KernelResult<Tried> {
    match done? {
        CommitResult::Committed(done) => Ok(Tried::Committed(done.commit_version())),
        CommitResult::Conflicted(_) => Ok(Tried::Conflict),
        CommitResult::Retryable(failed) => Err(failed.error),
    }
}
