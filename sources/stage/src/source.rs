//! The parts on a stage as a source: what commits a plan is an ordinary run.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use mixflow_core::context::{RunContext, UnitContext, incomplete};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::fit::Provenance;
use mixflow_core::ledger::{Earlier, Held};
use mixflow_core::source::{BatchIter, Outline, Plan, Session, Source, SourceInfo};
use mixflow_core::unit::{Unit, UnitKey};
use mixflow_core::whole_file::WholeFile;

use crate::part::{check, rows};
use crate::receipt::Receipt;
use crate::stage::Stage;

/// What was planned, and what is there of it.
#[derive(Clone, Debug)]
pub struct Staged {
    /// Where the parts are.
    pub stage: Stage,
    /// What was planned.
    pub plan: Plan,
    /// What was left of each unit.
    pub receipts: BTreeMap<UnitKey, Receipt>,
    /// What the rows of the parts look like.
    pub schema: SchemaRef,
    /// What is known of the source that they come from.
    pub info: SourceInfo,
    /// Whether fewer rows than were announced are all right.
    pub accepts_short: bool,
    /// Records that may be rejected, of all units.
    pub max_rejects: u64,
    /// A folder for files without a name.
    pub scratch: PathBuf,
}

/// The units of a plan, from a stage.
#[derive(Clone, Debug)]
pub struct StageSource {
    staged: Arc<Staged>,
}

impl StageSource {
    /// Creates the source.
    ///
    /// Fails when the machines that left the parts have not made their rows in the
    /// same way, such as with another key for the same column.
    pub fn new(mut staged: Staged) -> Result<StageSource> {
        let mut all = staged.receipts.values().filter(|receipt| receipt.rows > 0);
        let mut provenance = Provenance::default();
        if let Some(first) = all.next() {
            provenance.clone_from(&first.provenance);
            if let Some(other) = all.find(|receipt| receipt.provenance != provenance) {
                let (one, other) = (&first.counted.record.label, &other.counted.record.label);
                return Err(
                    Error::new(ErrorKind::Data, "the parts do not belong together")
                        .because(format!(
                            "the rows of {one} and of {other} were made with other keys"
                        ))
                        .hint("give all machines the same keys, and plan anew with `--fresh`"),
                );
            }
        }
        staged.info.provenance = Some(provenance);
        Ok(StageSource {
            staged: Arc::new(staged),
        })
    }
}

impl Source for StageSource {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.staged.schema)
    }

    fn info(&self) -> SourceInfo {
        self.staged.info.clone()
    }

    fn outline(&self, _held: &Held) -> Outline {
        Outline {
            units: self.staged.plan.units.clone(),
            requests: Some(0),
            ..Outline::default()
        }
    }

    fn open(&self, cx: &RunContext) -> Result<Box<dyn Session>> {
        Ok(Box::new(StageSession {
            staged: Arc::clone(&self.staged),
            held: cx.held.clone(),
            ids: Mutex::default(),
        }))
    }

    fn accepts_short(&self) -> bool {
        self.staged.accepts_short
    }

    fn max_rejects(&self) -> u64 {
        self.staged.max_rejects
    }
}

struct StageSession {
    staged: Arc<Staged>,
    held: Held,
    /// Who has come with the units so far, and with which.
    ids: Mutex<HashMap<u64, Arc<str>>>,
}

/// So many are remembered, in some 150 MB; beyond, the first of each unit, by which one
/// that is repeated is known all the same.
const MOST_IDS: usize = 3_500_000;

impl StageSession {
    /// Returns whether the destination has a unit already, with what was fetched
    /// then or later.
    ///
    /// Asked when nobody else can write there, so that of two runs that commit the
    /// same plan the second one finds the rows of the first.
    fn is_held(&self, unit: &Unit) -> bool {
        if self.held.earlier == Earlier::Go {
            return false;
        }
        let receipt = self.staged.receipts.get(&unit.key);
        receipt.is_some_and(|receipt| receipt.is_held_by(&self.held.ledger))
    }

    /// Says what was counted of a unit where it was read.
    ///
    /// Fails if somebody is in another unit, too, which the machines that read the two
    /// could not see.
    fn carry(&self, unit: &Unit, receipt: &Receipt, cx: &UnitContext) -> Result<()> {
        self.check_ids(unit, &receipt.counted.ids)?;
        cx.carry(receipt.counted.clone())
    }

    fn check_ids(&self, unit: &Unit, ids: &[u64]) -> Result<()> {
        let mut seen = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let repeated = ids.iter().filter_map(|id| seen.get(id));
        if let Some(other) = repeated.clone().next() {
            let (n, of) = (repeated.count(), ids.len());
            let label = &unit.label;
            return Err(Error::new(
                ErrorKind::Data,
                format!("{n} of the {of} profiles of {label} are those of {other}"),
            )
            .because("a cache in between may repeat itself; which of the two is the wrong one, nobody can tell")
            .hint("plan anew with `--fresh`, and run its units")
            .fatal());
        }
        let room = match seen.len() < MOST_IDS {
            true => ids.len(),
            false => 1,
        };
        let label: Arc<str> = unit.label.as_str().into();
        let new = ids.iter().take(room);
        seen.extend(new.map(|id| (*id, Arc::clone(&label))));
        Ok(())
    }

    fn receipt(&self, unit: &Unit) -> Result<&Receipt> {
        self.staged.receipts.get(&unit.key).ok_or_else(|| {
            incomplete(format!("{} is not on the stage", unit.label))
                .because("no machine has left it there")
        })
    }
}

impl Session for StageSession {
    fn plan(&self) -> Result<Plan> {
        let mut plan = self.staged.plan.clone();
        plan.units.retain(|unit| !self.is_held(unit));
        plan.requests = 0;
        // Those were the source's; here nobody is asked.
        plan.max_workers = None;
        plan.warnings.clear();
        Ok(plan)
    }

    fn file(&self, unit: &Unit) -> Option<WholeFile> {
        let receipt = self.staged.receipts.get(&unit.key)?;
        // One without rows is of no use to anybody.
        let notes = receipt.part.notes.clone().filter(|_| receipt.rows > 0)?;
        let stage = &self.staged.stage;
        Some(WholeFile {
            place: stage.objects().place(&stage.name(&receipt.part.path)),
            rows: receipt.rows,
            bytes: receipt.part.bytes,
            notes,
        })
    }

    fn check_file(&self, unit: &Unit, cx: &UnitContext) -> Result<()> {
        let receipt = self.receipt(unit)?;
        check(&self.staged.stage, &receipt.part, &self.staged.scratch)?;
        self.carry(unit, receipt, cx)
    }

    fn read<'a>(&'a self, unit: &'a Unit, cx: &'a UnitContext) -> Result<BatchIter<'a>> {
        let staged = &self.staged;
        let receipt = self.receipt(unit)?;
        let schema = SchemaRef::clone(&staged.schema);
        let rows = rows(&staged.stage, &receipt.part, schema, &staged.scratch)?;
        cx.count_bytes(receipt.part.bytes);
        self.carry(unit, receipt, cx)?;
        let mut left = receipt.rows;
        let label = &unit.label;
        let short = move |why: String| Error::new(ErrorKind::Data, why);
        let counted = rows.map(Some).chain([None]).map_while(move |records| {
            let Some(records) = records else {
                let message = format!("the part of {label} lacks {left} of its rows");
                return (left > 0).then(|| Err(short(message)));
            };
            let read = records
                .as_ref()
                .map_or(0, |records| records.num_rows() as u64);
            let Some(rest) = left.checked_sub(read) else {
                return Some(Err(short(format!("the part of {label} has too many rows"))));
            };
            left = rest;
            Some(records)
        });
        Ok(Box::new(counted))
    }
}
