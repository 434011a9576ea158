//! The ledger of a table, in its commits: what it holds of each dataset.
//!
//! It is *domain metadata*: texts by name that a commit sets or removes with the
//! files, and that checkpoints keep. Each month of a dataset has one, so that a
//! run writes the months alone that it has changed:
//! `mixflow.<dataset>` says which dataset it is, `mixflow.<dataset>.2024-01` what
//! is held of that month, `mixflow.<dataset>.undated` what is of no day.

use std::collections::{BTreeMap, BTreeSet};

use delta_kernel::actions::DomainMetadata;
use mixflow_core::fit::Provenance;
use mixflow_core::unit::{Dataset, DatasetKey};
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_parquet::files::{FileLedger, Month, MonthRecords};
use serde::{Deserialize, Serialize};

/// What a later mixflow raises when this one could not read what it writes.
pub(crate) const VERSION: u32 = 1;

/// What the names of our domains begin with.
const OURS: &str = "mixflow.";

/// The domain of what is of no day.
const UNDATED: &str = "undated";

/// What is said of a dataset.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    version: u32,
    dataset: Dataset,
    provenance: Provenance,
}

/// The texts of our domains, by name.
pub(crate) type Domains = BTreeMap<String, String>;

/// What a table says of the datasets in it.
#[derive(Debug, Default)]
pub(crate) struct TableLedger {
    /// The texts that it was read from.
    domains: Domains,
    pub(crate) files: FileLedger,
    pub(crate) provenances: BTreeMap<DatasetKey, Provenance>,
}

impl TableLedger {
    /// Reads the ledger of the table that people call `shown`.
    pub(crate) fn read(shown: &str, domains: Vec<DomainMetadata>) -> Result<TableLedger> {
        let domains: Domains = domains
            .into_iter()
            .filter(|domain| domain.domain().starts_with(OURS) && !domain.is_removed())
            .map(|domain| {
                (
                    domain.domain().to_owned(),
                    domain.configuration().to_owned(),
                )
            })
            .collect();
        let damaged = |name: &str| {
            Error::new(
                ErrorKind::Destination,
                format!("cannot read the ledger of the table `{shown}`"),
            )
            .because(format!(
                "its domain metadata `{name}` is not what mixflow writes"
            ))
        };
        let mut ledger = TableLedger::default();
        for (name, text) in &domains {
            let key = &name[OURS.len()..];
            if key.contains('.') {
                continue;
            }
            let note: Note =
                serde_json::from_str(text).map_err(|error| damaged(name).with_source(error))?;
            if note.version != VERSION {
                return Err(damaged(name).because(format!(
                    "it is of version {}, and this mixflow knows version {VERSION}",
                    note.version
                )));
            }
            let months = format!("{name}.");
            let months = domains
                .iter()
                .filter(|(other, _)| other.starts_with(&months));
            let months = months
                .map(|(name, text)| {
                    serde_json::from_str(text).map_err(|error| damaged(name).with_source(error))
                })
                .collect::<Result<Vec<MonthRecords>>>()?;
            ledger
                .provenances
                .insert(note.dataset.key(), note.provenance);
            ledger
                .files
                .extend(FileLedger::of_months(note.dataset, months));
        }
        ledger.domains = domains;
        Ok(ledger)
    }

    /// Returns what a commit sets and removes, so that a table that says this
    /// says what `files` has and how their rows were made.
    pub(crate) fn changes(
        &self,
        files: FileLedger,
        provenances: &BTreeMap<DatasetKey, Provenance>,
    ) -> Result<Changes> {
        let mut now = Domains::new();
        for (dataset, months) in files.into_months() {
            let key = dataset.key();
            let name = format!("{OURS}{key}");
            for (month, records) in months {
                now.insert(format!("{name}.{}", name_of(month)), text(&records)?);
            }
            let note = Note {
                version: VERSION,
                dataset,
                provenance: provenances.get(&key).cloned().unwrap_or_default(),
            };
            now.insert(name, text(&note)?);
        }
        let gone = self.domains.keys().filter(|name| !now.contains_key(*name));
        let gone = gone.cloned().collect();
        now.retain(|name, text| self.domains.get(name) != Some(text));
        Ok(Changes { set: now, gone })
    }
}

/// What a commit says of our domains.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) set: Domains,
    pub(crate) gone: BTreeSet<String>,
}

fn name_of(month: Month) -> String {
    match month {
        Some(first) => format!("{:04}-{:02}", first.year(), first.month()),
        None => UNDATED.to_owned(),
    }
}

fn text<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| {
        Error::new(ErrorKind::Other, "cannot write the ledger of the table").with_source(error)
    })
}
