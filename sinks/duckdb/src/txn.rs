//! One run's writes: a DuckDB transaction.

use std::path::{Path, PathBuf};

use arrow::record_batch::RecordBatch;
use duckdb::Connection;
use mixflow_core::batch::Batch;
use mixflow_core::ledger::{Scope, of_dataset, with_dataset_column};
use mixflow_core::sink::{
    CommitSummary, Outcome, PartitionInfo, Residue, SinkTxn, TxnContext, WriteMode, already_exists,
};
use mixflow_core::source::Extent;
use mixflow_core::staged::{StagedFolder, cannot, publish_new, sweep};
use mixflow_core::unit::DatasetKey;
use mixflow_core::{Error, ErrorKind, Result};

use crate::columns::{Codecs, add_columns, definition};
use crate::commit::{Closed, check_whole, fate, judged};
use crate::database::Database;
use crate::datasets::{is_of, share};
use crate::ledger::{TableLedger, Written};
use crate::macros;
use crate::made_of;
use crate::memory::{Allowance, most_threads};
use crate::metadata;
use crate::old_rows::OldRows;
use crate::open::{Access, check_new, failed, limit_memory, uncommitted};
use crate::outside::Outside;
use crate::pull::Pull;
use crate::readable::readable;
use crate::sql::quoted;
use crate::target::Target;

/// A transaction on a table. Dropping it rolls back.
pub(crate) struct DuckdbTxn {
    /// `None` while rows are taken, and once it is closed.
    database: Option<Database>,
    /// Takes rows, and has the database meanwhile.
    pull: Option<Pull>,
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
    old_rows: OldRows,
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
        let (usual_mb, row_group) = (database.access().memory_mb(), database.row_group());
        // Events of a window have no order; pages of profiles have.
        let threads = match cx.source.partitions_are_days {
            true => most_threads(),
            false => 1,
        };
        let table = target.table_for(&cx.source.dataset.kind);
        let shared_by = (target.scope == Scope::Filter).then(|| cx.source.dataset.key());
        let ours = shared_by.as_ref().map(is_of);
        let mut txn = DuckdbTxn {
            database: Some(database),
            pull: None,
            path: target.path.clone(),
            staged,
            table: table.to_owned(),
            mode: target.mode,
            cx: cx.clone(),
            shared_by,
            is_new: false,
            outside: None,
            old_rows: OldRows::new(table, ours, !target.allow_shrink),
            announced: Vec::new(),
            rows: 0,
            macros: target.macros,
            allowance: Allowance::new(usual_mb, threads, row_group),
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
        open(&self.database)
    }

    fn prepare(&mut self, target: &Target) -> Result<()> {
        let what = format!("begin to write the table `{}`", self.table);
        let mut codecs = Codecs::ALL;
        while let Err(error) = self.create_table(target, codecs, &what) {
            let Some(left) = codecs.without_refused(&error) else {
                return Err(error);
            };
            codecs = left;
            // The error has ended the transaction.
            self.connection()
                .execute_batch("ROLLBACK")
                .map_err(failed(&what))?;
        }
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
        self.old_rows.look(open(&self.database), self.mode)
    }

    /// Begins the transaction and makes the table in it, if that is the mode.
    fn create_table(&mut self, target: &Target, codecs: Codecs, what: &str) -> Result<()> {
        self.connection()
            .execute_batch("BEGIN TRANSACTION")
            .map_err(failed(what))?;
        // What `preview` saw may have changed; inside the transaction it can't.
        let connection = open(&self.database);
        let checked = target.check(connection, &self.cx)?;
        self.is_new = self.mode == WriteMode::Replace || !checked.exists;
        self.old_rows.look_before(connection, self.mode)?;
        let create = match self.mode {
            WriteMode::Create => "CREATE TABLE",
            WriteMode::Replace => "CREATE OR REPLACE TABLE",
            WriteMode::Append | WriteMode::ReplaceWindow => "CREATE TABLE IF NOT EXISTS",
        };
        let columns = match &self.shared_by {
            Some(_) => definition(&with_dataset_column(&self.cx.schema), codecs)?,
            None => definition(&self.cx.schema, codecs)?,
        };
        connection
            .execute_batch(&format!("{create} {} {columns}", quoted(&self.table)))
            .map_err(failed(what))?;
        add_columns(connection, &self.table, &checked.new_columns, codecs)
    }

    /// Hands rows over to DuckDB; the first ones begin its `INSERT`.
    fn push(&mut self, records: &RecordBatch) -> Result<()> {
        let threads = self.allowance.threads();
        let pull = self.pull.as_ref();
        if pull.is_some_and(|pull| pull.threads() != threads) {
            self.end_rows()?;
        }
        if let Some(database) = self.database.take() {
            let schema = records.schema();
            self.pull = Some(Pull::begin(database, &self.table, &schema, threads)?);
        }
        let pull = self.pull.as_mut().expect("it has begun");
        if !pull.push(records) {
            self.end_rows()?;
        }
        Ok(())
    }

    /// Waits until all rows so far are in the table, and has the connection
    /// again.
    fn end_rows(&mut self) -> Result<()> {
        let Some(pull) = self.pull.take() else {
            return Ok(());
        };
        let (database, ended) = pull.end(&format!("write to the table `{}`", self.table));
        self.database = database;
        ended
    }

    fn write_outside(&mut self) -> Result<()> {
        match (&mut self.outside, &self.database) {
            (Some(outside), Some(database)) => outside.write(database),
            _ => Ok(()),
        }
    }

    /// Deletes what was there of the days that were fetched.
    ///
    /// At the end, since the connection takes rows meanwhile; but where a key
    /// is to be unique, each day goes before its rows come.
    fn delete_replaced(&mut self) -> Result<()> {
        if self.mode != WriteMode::ReplaceWindow || self.old_rows.have_keys {
            return Ok(());
        }
        let (connection, outside) = (open(&self.database), self.outside.as_ref());
        let (old_rows, announced) = (&mut self.old_rows, &self.announced);
        announced
            .iter()
            .try_for_each(|info| old_rows.delete(connection, outside, info))
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
        if let Some(pull) = self.pull.take() {
            self.database = pull.stop();
        }
        if let Some(database) = &self.database {
            // After an error DuckDB may have rolled back by itself.
            let _ = database.execute_batch("ROLLBACK");
        }
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

/// Returns the connection of a transaction, beside which its other fields may
/// change.
fn open(database: &Option<Database>) -> &Connection {
    database
        .as_ref()
        .expect("`end_rows` has it again, and only commit and abort close it")
}

/// Returns where the file that is to stand at `path` is made.
fn in_folder(folder: &StagedFolder, path: &Path) -> PathBuf {
    folder.path().join(path.file_name().unwrap_or_default())
}

impl SinkTxn for DuckdbTxn {
    fn partition(&mut self, info: &PartitionInfo) -> Result<()> {
        if self.mode == WriteMode::ReplaceWindow && !matches!(info.extent, Extent::Days(_)) {
            return Err(Error::new(
                ErrorKind::Config,
                format!("cannot replace {}, which stands for no days", info.label),
            ));
        }
        if self.mode == WriteMode::ReplaceWindow && self.old_rows.have_keys {
            self.end_rows()?;
            let (connection, outside) = (open(&self.database), self.outside.as_ref());
            self.old_rows.delete(connection, outside, info)?;
        }
        if let Some(outside) = &mut self.outside {
            outside.announce(info);
        }
        self.announced.push(info.clone());
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        let rows = batch.records.num_rows() as u64;
        let records = readable(&batch.records)?;
        if let Some(outside) = &mut self.outside {
            outside.note(batch.partition, &records);
            if outside.is_full() {
                self.end_rows()?;
                self.write_outside()?;
            }
        }
        if let Some(mb) = self.allowance.raised_for(&records) {
            log::debug!("DuckDB may use {mb} MB, for large values");
            self.end_rows()?;
            limit_memory(self.connection(), &format!("{mb}MB"))?;
        }
        let records = match &self.shared_by {
            Some(key) => of_dataset(&records, key)?,
            None => records,
        };
        self.push(&records)?;
        self.rows += rows;
        Ok(())
    }

    fn commit(mut self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        let destination = format!("table {} in {}", self.table, self.path.display());
        let what = format!("commit to `{}`", self.path.display());
        self.end_rows()?;
        self.write_outside()?;
        self.delete_replaced()?;
        self.old_rows
            .check_shrink(self.connection(), self.rows, &what)?;
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
        made_of::record(self.connection(), &self.table, &self.cx.schema)?;
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
