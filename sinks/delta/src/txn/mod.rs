//! A run's writes into a table, which become one commit.

pub(crate) mod publish;

use std::collections::BTreeMap;
use std::rc::Rc;

use delta_kernel::Version;
use jiff::tz::TimeZone;
use mixflow_core::batch::{Batch, PartitionId};
use mixflow_core::ledger::DayCounter;
use mixflow_core::sink::{
    CommitSummary, Outcome, PartitionInfo, Residue, SinkTxn, TxnContext, WriteMode,
};
use mixflow_core::source::Extent;
use mixflow_core::unit::Dataset;
use mixflow_core::whole_file::{FilePlace, WholeFile};
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_parquet::files::{FileLedger, Home, split, zone_of};
use parquet::file::properties::WriterProperties;

use crate::check::Check;
use crate::files::{Files, Form};
use crate::form::{TableForm, Taken};
use crate::going::{Going, Replacement};
use crate::leftovers::{Mark, Whose};
use crate::place::Place;
use crate::runs::has_committed;
use crate::table::Table;

/// The writes of one run.
pub(crate) struct DeltaTxn {
    place: Rc<Place>,
    check: Check,
    cx: TxnContext,
    by_date: bool,
    zone: TimeZone,
    going: Going,
    properties: WriterProperties,
    /// The days of each partition that stands for days.
    days: BTreeMap<PartitionId, DayCounter>,
    /// What was there when the run began.
    began: Began,
    /// The form of files that it takes.
    form: TableForm,
    /// Where the run writes to; nowhere if it has committed already.
    writing: Option<(Mark, Files)>,
    rows: u64,
}

/// What was at a place when a run began.
struct Began {
    version: Option<Version>,
    files: FileLedger,
}

impl DeltaTxn {
    pub(crate) fn begin(
        place: Rc<Place>,
        check: Check,
        replacement: Replacement,
        table: Option<&Table>,
        form: Form,
        cx: &TxnContext,
    ) -> Result<DeltaTxn> {
        let dataset = &cx.source.dataset;
        let done = match table {
            Some(table) => has_committed(&place, table, cx)?,
            None => false,
        };
        let whose = Whose {
            run_id: cx.run_id.clone(),
            dataset: dataset.key(),
        };
        let properties = form.properties.clone();
        let table_form = TableForm::new(form.clone(), cx);
        let writing = if done {
            None
        } else {
            let mark = Mark::leave(&place, &whose)?;
            Some((mark, Files::new(&place, form)))
        };
        Ok(DeltaTxn {
            by_date: check.by_date,
            zone: zone_of(dataset),
            going: Going::new(replacement, dataset.key()),
            began: Began {
                version: table.map(Table::version),
                files: match table {
                    Some(table) => table.ledger.files.clone(),
                    None => FileLedger::default(),
                },
            },
            properties,
            form: table_form,
            days: BTreeMap::new(),
            cx: cx.clone(),
            check,
            writing,
            place,
            rows: 0,
        })
    }

    fn dataset(&self) -> &Dataset {
        &self.cx.source.dataset
    }

    /// Removes all that was written.
    fn give_up(&mut self) -> Result<()> {
        let Some((mark, mut files)) = self.writing.take() else {
            return Ok(());
        };
        // What cannot be removed now is what the mark is for.
        files.remove()?;
        mark.remove()?;
        if let (None, Some(folder)) = (self.began.version, self.place.folder()) {
            // Nothing but the run has made it.
            let _ = std::fs::remove_dir(folder.join("_delta_log"));
            let _ = std::fs::remove_dir(folder);
        }
        Ok(())
    }
}

impl SinkTxn for DeltaTxn {
    fn partition(&mut self, info: &PartitionInfo) -> Result<()> {
        match &info.extent {
            Extent::Days(range) => {
                self.days
                    .insert(info.id, DayCounter::new(range, &self.zone));
                self.going.add(range);
                Ok(())
            }
            _ if self.going.mode() == WriteMode::ReplaceWindow => Err(Error::new(
                ErrorKind::Config,
                format!("cannot replace {}, which stands for no days", info.label),
            )),
            _ => Ok(()),
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.rows += batch.records.num_rows() as u64;
        let Some((mark, files)) = &mut self.writing else {
            return Ok(());
        };
        let days = self.days.get(&batch.partition);
        if !self.check.has_day {
            return files.write(mark, Home::default(), &batch.records);
        }
        for (mut home, records) in split(&batch.records, days)? {
            if !self.by_date {
                home.folder = None;
            }
            files.write(mark, home, &records)?;
        }
        Ok(())
    }

    fn takes(&self, _info: &PartitionInfo, file: &WholeFile) -> bool {
        let is_near = match (self.place.folder(), &file.place) {
            (Some(_), FilePlace::Local(_)) => true,
            _ => self.place.path_of_file(file).is_some(),
        };
        is_near && self.form.taken(self.by_date, file).is_ok()
    }

    fn take(&mut self, _partition: PartitionId, file: &WholeFile) -> Result<()> {
        self.rows += file.rows;
        let Some((mark, files)) = &mut self.writing else {
            return Ok(());
        };
        let Taken { home, stats } = self.form.taken(self.by_date, file)?;
        files.take(mark, file, home, stats)
    }

    fn commit(mut self: Box<Self>, outcome: &Outcome<'_>) -> Result<CommitSummary> {
        let summary = CommitSummary {
            rows: self.rows,
            destination: self.place.shown().to_owned(),
            warnings: Vec::new(),
        };
        let Some((mark, mut files)) = self.writing.take() else {
            return Ok(summary);
        };
        let result = files.finish().and_then(|written| {
            self.sync_folders(written)?;
            self.commit_files(&mark, written, outcome)
        });
        match result {
            Ok(Some(warnings)) => {
                if let Err(error) = mark.remove() {
                    log::warn!("{}", error.in_a_line());
                }
                Ok(CommitSummary {
                    warnings,
                    ..summary
                })
            }
            // It was sent twice, and the other one was quicker.
            Ok(None) => {
                self.writing = Some((mark, files));
                self.give_up()?;
                Ok(summary)
            }
            // The files may be part of the table: the next run finds out.
            Err(error) if error.is_in_doubt() => Err(error),
            Err(error) => {
                self.writing = Some((mark, files));
                if let Err(error) = self.give_up() {
                    log::warn!("{}", error.in_a_line());
                }
                Err(error)
            }
        }
    }

    fn abort(mut self: Box<Self>) -> Result<Residue> {
        self.give_up()?;
        Ok(Residue::None)
    }
}

impl Drop for DeltaTxn {
    fn drop(&mut self) {
        if let Err(error) = self.give_up() {
            log::warn!("{}", error.in_a_line());
        }
    }
}
