//! One run's writes: a DuckDB transaction.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::record_batch::RecordBatch;
use duckdb::types::{TimeUnit, Value};
use duckdb::{Connection, params_from_iter};
use mixflow_core::batch::{Batch, is_json};
use mixflow_core::json::{lone_halves, without_halves};
use mixflow_core::ledger::Scope;
use mixflow_core::sink::{
    CommitSummary, Outcome, PartitionInfo, ReplacedDay, Residue, SinkTxn, TxnContext, WriteMode,
    already_exists, check_replace, check_shrink,
};
use mixflow_core::source::Extent;
use mixflow_core::staged::{StagedFolder, cannot, publish_new, sweep};
use mixflow_core::unit::DatasetKey;
use mixflow_core::{Error, ErrorKind, Result};

use crate::columns::{Codecs, Relation, definition, find, quoted};
use crate::commit::{Closed, check_whole, fate, judged};
use crate::database::Database;
use crate::datasets::{is_of, marked, share, with_column};
use crate::ledger::{TableLedger, Written};
use crate::macros;
use crate::memory::Allowance;
use crate::metadata;
use crate::open::{Access, check_new, failed, limit_memory, uncommitted};
use crate::outside::Outside;
use crate::target::Target;

/// A transaction on a table. Dropping it rolls back.
pub(crate) struct DuckdbTxn {
    /// `None` once it is closed.
    database: Option<Database>,
    path: PathBuf,
    /// Where a file is made that was not there: it appears with the commit,
    /// so that a process that is killed leaves no empty database.
    staged: Option<StagedFolder>,
    table: String,
    mode: WriteMode,
    cx: TxnContext,
    /// The key that the rows get, where several datasets share the table.
    shared_by: Option<DatasetKey>,
    /// Whether the table is made by this run.
    is_new: bool,
    /// Looks after rows whose time is in none of their days.
    outside: Option<Outside>,
    /// The last row that was there before, for `replace_window`.
    last_old_row: Option<i64>,
    /// The rows of the table that is replaced, if there is one and they matter.
    replaced: Option<u64>,
    /// The rows of the days that were deleted; `None` if they do not matter.
    deleted: Option<BTreeMap<String, u64>>,
    announced: Vec<PartitionInfo>,
    rows: u64,
    allowance: Allowance,
    /// Whether table macros are left in the database.
    macros: bool,
    /// What people should know, once it is committed.
    warnings: Vec<String>,
}

impl DuckdbTxn {
    pub(crate) fn begin(target: &Target, cx: &TxnContext) -> Result<DuckdbTxn> {
        if target.default_path
            && let Some(folder) = target.path.parent()
        {
            std::fs::create_dir_all(folder).map_err(|error| {
                Error::new(
                    ErrorKind::Io,
                    format!("cannot create `{}`", folder.display()),
                )
                .with_source(error)
            })?;
        }
        check_new(&target.path)?;
        let staged = if target.exists() {
            // One that was killed just after its file was in place.
            sweep(&target.path);
            None
        } else {
            Some(StagedFolder::begin(&target.path)?)
        };
        let mut database = match &staged {
            Some(folder) => target.new_database(&in_folder(folder, &target.path))?,
            None => target.database(Access::Run)?,
        };
        database.take_turn(&target.path)?;
        let usual_mb = database.access().memory_mb();
        let mut txn = DuckdbTxn {
            database: Some(database),
            path: target.path.clone(),
            staged,
            table: target.table_for(&cx.source.dataset.kind).to_owned(),
            mode: target.mode,
            cx: cx.clone(),
            shared_by: (target.scope == Scope::Filter).then(|| cx.source.dataset.key()),
            is_new: false,
            outside: None,
            last_old_row: None,
            replaced: None,
            deleted: (!target.allow_shrink).then(BTreeMap::new),
            announced: Vec::new(),
            rows: 0,
            allowance: Allowance::new(usual_mb),
            macros: target.macros,
            warnings: Vec::new(),
        };
        if txn.staged.is_none() {
            let warning = target.storage_warning(txn.connection())?;
            txn.warnings.extend(warning);
        }
        txn.prepare(target)?;
        Ok(txn)
    }

    fn connection(&self) -> &Connection {
        self.database
            .as_ref()
            .expect("it is closed by commit and abort only, which take the transaction")
    }

    fn prepare(&mut self, target: &Target) -> Result<()> {
        let what = format!("begin to write the table `{}`", self.table);
        self.create_table(target, Codecs::Best, &what)
            .or_else(|error| {
                if is_unavailable(&error) {
                    // The error has ended the transaction.
                    self.connection()
                        .execute_batch("ROLLBACK")
                        .map_err(failed(&what))?;
                    self.create_table(target, Codecs::Theirs, &what)
                } else {
                    Err(error)
                }
            })?;
        let ledger = TableLedger::new(self.connection(), &self.table);
        ledger.create()?;
        if self.is_new {
            // Somebody may have dropped the table, who knows of no ledger.
            ledger.forget()?;
        }
        if self.shared_by.is_some() {
            share(self.connection(), &self.table, &self.cx.source.dataset)?;
        }
        let ours = self.shared_by.as_ref().map(is_of);
        self.outside = Outside::begin(self.connection(), &self.table, ours, &self.cx)?;
        let table = quoted(&self.table);
        if self.mode == WriteMode::ReplaceWindow {
            self.last_old_row = self
                .connection()
                .query_row(&format!("SELECT max(rowid) FROM {table}"), [], |row| {
                    row.get(0)
                })
                .map_err(failed(&what))?;
        }
        Ok(())
    }

    /// Begins the transaction and makes the table in it, if that is the mode.
    fn create_table(&mut self, target: &Target, codecs: Codecs, what: &str) -> Result<()> {
        self.connection()
            .execute_batch("BEGIN TRANSACTION")
            .map_err(failed(what))?;
        // What `preview` saw may have changed; inside the transaction it can't.
        target.check(self.connection(), &self.cx)?;
        self.is_new = self.mode == WriteMode::Replace
            || find(self.connection(), &self.table)? != Relation::Table;
        if self.mode == WriteMode::Replace && !target.allow_shrink {
            self.replaced = self.count_table(what)?;
        }
        let create = match self.mode {
            WriteMode::Create => "CREATE TABLE",
            WriteMode::Replace => "CREATE OR REPLACE TABLE",
            WriteMode::Append | WriteMode::ReplaceWindow => "CREATE TABLE IF NOT EXISTS",
        };
        let columns = match &self.shared_by {
            Some(_) => definition(&with_column(&self.cx.schema), codecs)?,
            None => definition(&self.cx.schema, codecs)?,
        };
        self.connection()
            .execute_batch(&format!("{create} {} {columns}", quoted(&self.table)))
            .map_err(failed(what))
    }

    /// Counts the rows of the table, if there is one.
    fn count_table(&self, what: &str) -> Result<Option<u64>> {
        if find(self.connection(), &self.table)? != Relation::Table {
            return Ok(None);
        }
        let sql = format!("SELECT count(*) FROM {}", quoted(&self.table));
        self.connection()
            .query_row(&sql, [], |row| row.get(0))
            .map(Some)
            .map_err(failed(what))
    }

    /// Deletes the days of a partition, but not what this run has written.
    ///
    /// Rows of this transaction have ids above every row that was there
    /// before; without that bound, a row that another window holds for one of
    /// these days would be lost again.
    fn delete_days(&mut self, info: &PartitionInfo) -> Result<()> {
        let Extent::Days(days) = info.extent else {
            return Err(Error::new(
                ErrorKind::Config,
                format!("cannot replace {}, which stands for no days", info.label),
            ));
        };
        let Some(last_old_row) = self.last_old_row else {
            return Ok(());
        };
        let at = |us| Value::Timestamp(TimeUnit::Microsecond, us);
        let what = format!("replace {} in `{}`", info.label, self.table);
        let mut rows = format!(
            "FROM {} WHERE event_time >= ? AND event_time < ? AND rowid <= ?",
            quoted(&self.table)
        );
        let mut range = vec![
            at(days.start_us),
            at(days.end_us),
            Value::BigInt(last_old_row),
        ];
        if let Some(key) = &self.shared_by {
            rows = format!("{rows} AND {}", is_of(key));
        }
        if let Some(outside) = &self.outside {
            outside.delete(self.connection(), &days, last_old_row)?;
            if let Some((condition, parameters)) = outside.at_home(&days, last_old_row) {
                rows = format!("{rows} AND {condition}");
                range.extend(parameters);
            }
        }
        if self.deleted.is_some() {
            let counted = self.count_days(&rows, &range, &what)?;
            let deleted = self.deleted.get_or_insert_default();
            for (day, count) in counted {
                *deleted.entry(day).or_default() += count;
            }
        }
        self.connection()
            .execute(&format!("DELETE {rows}"), params_from_iter(&range))
            .map_err(failed(&what))?;
        Ok(())
    }

    /// Counts rows by their UTC day; `rows` is a query from `FROM` on.
    fn count_days(
        &self,
        rows: &str,
        parameters: &[Value],
        what: &str,
    ) -> Result<BTreeMap<String, u64>> {
        let sql =
            format!("SELECT CAST(CAST(event_time AS DATE) AS VARCHAR), count(*) {rows} GROUP BY 1");
        let mut statement = self.connection().prepare(&sql).map_err(failed(what))?;
        let days = statement
            .query_map(params_from_iter(parameters), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .map_err(failed(what))?;
        days.collect::<Result<_, _>>().map_err(failed(what))
    }

    /// Refuses to commit when the table or a day would lose most of its rows.
    fn check_shrink(&self, what: &str) -> Result<()> {
        if let Some(before) = self.replaced {
            return check_replace(&format!("the table `{}`", self.table), before, self.rows);
        }
        let (Some(deleted), Some(last_old_row)) = (&self.deleted, self.last_old_row) else {
            return Ok(());
        };
        if deleted.is_empty() {
            return Ok(());
        }
        let rows = format!("FROM {} WHERE rowid > ?", quoted(&self.table));
        let written = self.count_days(&rows, &[Value::BigInt(last_old_row)], what)?;
        let days: Vec<ReplacedDay> = deleted
            .iter()
            .map(|(day, before)| ReplacedDay {
                day: day.clone(),
                before: *before,
                after: written.get(day).copied().unwrap_or(0),
            })
            .collect();
        check_shrink(&days)
    }

    /// Enters what is committed into the ledger.
    fn record(&self, outcome: &Outcome<'_>) -> Result<()> {
        // Rows that are of no units say nothing of days.
        if outcome.units.is_empty() {
            return Ok(());
        }
        let written = match self.mode {
            _ if self.is_new => Written::New,
            WriteMode::ReplaceWindow => Written::InPlaceOfDays,
            WriteMode::Create | WriteMode::Append | WriteMode::Replace => Written::Beside,
        };
        let ledger = TableLedger::new(self.connection(), &self.table);
        if !self.is_new && !ledger.knows_anything()? {
            // Written before there was a ledger, or by another program.
            let before = metadata::read(self.connection(), &self.table)?;
            let days = before.and_then(|before| Some((before.from_date?, before.to_date?)));
            if let Some((first, last)) = days {
                ledger.record_unknown(first, last)?;
            }
        }
        ledger.record(&self.cx.source.dataset, outcome.units, written)
    }

    /// Closes the database, and with it rolls back what is not committed.
    fn close(&mut self) {
        self.database = None;
    }

    /// Rolls back and leaves nothing behind that was not there.
    fn undo(&mut self) -> Result<()> {
        let Some(database) = &self.database else {
            return Ok(());
        };
        // After an error DuckDB may have rolled back by itself.
        let _ = database.execute_batch("ROLLBACK");
        self.close();
        match self.staged.take() {
            Some(folder) => {
                let what = format!("remove `{}`", folder.path().display());
                folder.remove().map_err(cannot(what))
            }
            None => Ok(()),
        }
    }

    /// Writes what is committed into the file.
    ///
    /// DuckDB does so when it closes, too, and then hides what goes wrong.
    fn checkpoint(&self, what: &str) -> Result<()> {
        self.connection()
            .execute_batch("CHECKPOINT")
            .map_err(uncommitted(what))
    }

    /// Puts a new file in its place, once it is known to be whole.
    fn publish(&mut self, folder: &StagedFolder, what: &str) -> Result<()> {
        self.checkpoint(what)?;
        self.close();
        let file = in_folder(folder, &self.path);
        check_whole(&file, &self.table, self.rows)
            .map_err(|error| error.context(format!("cannot {what}")))?;
        check_new(&self.path)?;
        publish_new(&file, &self.path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                already_exists(&format!("`{}`", self.path.display()))
                    .hint("run it again: somebody else has made it meanwhile")
            }
            _ => cannot(what)(error),
        })
    }

    /// Ends a commit to a file that was there; returns what a person should
    /// know of it.
    fn settle(&mut self, committed: Result<()>, what: &str) -> Result<Vec<String>> {
        let alone = self.database.as_ref().is_some_and(Database::is_alone);
        if !alone {
            // The others go on to use the database, which writes its log into
            // the file when it likes.
            return match committed {
                Ok(()) => Ok(Vec::new()),
                Err(trouble) => {
                    let fate = fate(self.connection(), &self.table, &self.cx);
                    judged(&self.path, trouble, fate)
                }
            };
        }
        let trouble = committed.and_then(|()| self.checkpoint(what)).err();
        self.close();
        let closed = Closed {
            path: &self.path,
            table: &self.table,
            cx: &self.cx,
        };
        closed.settle(trouble)
    }
}

/// Returns where the file that is to stand at `path` is made.
fn in_folder(folder: &StagedFolder, path: &Path) -> PathBuf {
    folder.path().join(path.file_name().unwrap_or_default())
}

/// Whether the file is of a storage version that has no such compression.
fn is_unavailable(error: &Error) -> bool {
    let causes = error.causes();
    causes
        .iter()
        .any(|cause| cause.contains("not available yet"))
}

impl SinkTxn for DuckdbTxn {
    fn partition(&mut self, info: &PartitionInfo) -> Result<()> {
        if self.mode == WriteMode::ReplaceWindow {
            self.delete_days(info)?;
        }
        if let Some(outside) = &mut self.outside {
            outside.announce(info);
        }
        self.announced.push(info.clone());
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        let what = format!("write to the table `{}`", self.table);
        let rows = batch.records.num_rows() as u64;
        let records = readable(&batch.records)?;
        if let Some(outside) = &self.outside {
            outside.note(self.connection(), batch.partition, &records)?;
        }
        if let Some(mb) = self.allowance.raised_for(&records) {
            log::debug!("DuckDB may use {mb} MB, for large values");
            limit_memory(self.connection(), &format!("{mb}MB"))?;
        }
        let records = match &self.shared_by {
            Some(key) => marked(&records, key)?,
            None => records,
        };
        let mut appender = self
            .connection()
            .appender(&self.table)
            .map_err(failed(&what))?;
        appender
            .append_record_batch(records)
            .map_err(failed(&what))?;
        // Dropping an appender flushes too, but hides the error.
        appender.flush().map_err(failed(&what))?;
        drop(appender);
        self.rows += rows;
        Ok(())
    }

    fn commit(mut self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        let destination = format!("table {} in {}", self.table, self.path.display());
        let what = format!("commit to `{}`", self.path.display());
        self.check_shrink(&what)?;
        self.record(outcome)?;
        metadata::record(
            self.connection(),
            &self.table,
            &metadata::Fetch {
                cx: &self.cx,
                outcome,
                done: &self.announced,
                fresh: self.is_new,
            },
        )?;
        if self.macros {
            let warnings = macros::leave(self.connection())?;
            self.warnings.extend(warnings);
        }
        let committed = self
            .connection()
            .execute_batch("COMMIT")
            .map_err(uncommitted(&what));
        let mut warnings = std::mem::take(&mut self.warnings);
        match self.staged.take() {
            Some(folder) => {
                committed?;
                self.publish(&folder, &what)?;
            }
            None => warnings.extend(self.settle(committed, &what)?),
        }
        Ok(CommitSummary {
            rows: self.rows,
            destination,
            warnings,
        })
    }

    fn abort(mut self: Box<Self>) -> Result<Residue> {
        self.undo()?;
        Ok(Residue::None)
    }
}

impl Drop for DuckdbTxn {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            log::warn!("{error:?}");
        }
    }
}

/// Returns the batch with JSON that DuckDB can query.
///
/// DuckDB's appender takes any text for JSON, but one escape of half a
/// surrogate pair (senders cut strings at 255 bytes) makes every query that
/// looks into the column fail: `Malformed JSON … no low surrogate in string`.
/// It stands for no character, so U+FFFD loses nothing.
fn readable(records: &RecordBatch) -> Result<RecordBatch> {
    let schema = records.schema();
    let mut columns: Cow<'_, [ArrayRef]> = Cow::Borrowed(records.columns());
    for (n, field) in schema.fields().iter().enumerate() {
        if !is_json(field) {
            continue;
        }
        let Some(texts) = records.column(n).as_string_opt::<i32>() else {
            continue;
        };
        if lone_halves(texts.value_data()).next().is_none() {
            continue;
        }
        let mended: StringArray = texts.iter().map(|text| text.map(without_halves)).collect();
        columns.to_mut()[n] = Arc::new(mended);
    }
    match columns {
        Cow::Borrowed(_) => Ok(records.clone()),
        Cow::Owned(columns) => Ok(RecordBatch::try_new(schema, columns)?),
    }
}
