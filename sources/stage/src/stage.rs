//! The part of a stage that is one plan's.

use std::collections::BTreeMap;

use mixflow_core::cancel::CancelToken;
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::unit::UnitKey;
use mixflow_core::whole_file::FilePlace;
use mixflow_objects::{Created, Location, Objects, StoreOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::receipt::{Committed, Receipt};
use crate::slots::StageSlots;

/// What a plan has on a stage.
#[derive(Clone, Debug)]
pub struct Stage {
    objects: Objects,
    plan: String,
}

const COMMIT: &str = "commit.json";

/// Says that the service has been tried.
const PROBED: &str = "probed";

impl Stage {
    /// Opens the part of the stage at `location` that is of the plan `plan`. Asks
    /// nobody, and makes nothing.
    ///
    /// Work on it stops with `cancel`. `plan` is safe in a path.
    pub fn open(location: &Location, plan: &str, cancel: &CancelToken) -> Result<Stage> {
        let objects = location.open(&StoreOptions::default())?.until(cancel);
        let plan = plan.to_owned();
        Ok(Stage { objects, plan })
    }

    /// Checks that the service keeps its word of making what is not there, without
    /// which two machines could leave the same unit.
    ///
    /// Once for a stage: that it does is noted there.
    pub fn prepare(&self) -> Result<()> {
        if self.objects.size(PROBED)?.is_some() {
            return Ok(());
        }
        self.objects.probe()?;
        self.objects
            .put(PROBED, "makes an object only where there is none\n")
    }

    /// Returns where it is.
    pub fn location(&self) -> Location {
        self.objects.location().join(&self.plan)
    }

    /// Returns the slots for requests that all plans on the stage share.
    pub fn slots(&self) -> StageSlots {
        StageSlots::new(self.objects.clone())
    }

    /// Returns where the parts are.
    pub(crate) fn parts(&self) -> FilePlace {
        self.objects.place(&self.name("parts"))
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Returns the name on the stage of what the plan calls `name`.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.plan)
    }

    /// Returns what was left of a unit; `None` if nobody has read it.
    pub fn receipt(&self, key: &UnitKey) -> Result<Option<Receipt>> {
        self.read(&receipt_name(key))
    }

    /// Leaves a receipt, unless there is one. Returns the one that counts, and
    /// whether it is this one.
    ///
    /// The part of a receipt that does not count is removed.
    pub fn leave(&self, receipt: Receipt) -> Result<(Receipt, bool)> {
        let name = receipt_name(&receipt.key);
        // A service may have made it and its answer got lost: then the second try
        // finds our own.
        if self.create(&name, &receipt)? == Created::New {
            return Ok((receipt, true));
        }
        let other = self
            .receipt(&receipt.key)?
            .ok_or_else(|| self.damaged(&name, "it was there a moment ago and is no longer"))?;
        let is_ours = other == receipt;
        if !is_ours && other.part.path != receipt.part.path {
            let part = self.name(&receipt.part.path);
            if let Err(error) = self.objects.delete(&part) {
                log::warn!("{}", error.in_a_line());
            }
        }
        Ok((other, is_ours))
    }

    /// Returns the receipts of all units that were read.
    pub fn receipts(&self) -> Result<BTreeMap<UnitKey, Receipt>> {
        let folder = self.name("receipts");
        let found = self.objects.list(&folder)?;
        let names: Vec<String> = found.into_iter().map(|found| found.name).collect();
        let mut receipts = BTreeMap::new();
        for (name, bytes) in names.iter().zip(self.objects.get_all(&names)?) {
            // Between the two somebody may have tidied up.
            let Some(bytes) = bytes else { continue };
            let receipt: Receipt = self.parse(name, &bytes)?;
            receipts.insert(receipt.key.clone(), receipt);
        }
        Ok(receipts)
    }

    /// Returns what was committed of the plan; `None` if nothing was.
    pub fn committed(&self) -> Result<Option<Committed>> {
        self.read(COMMIT)
    }

    /// Notes what was committed, or is about to be.
    pub fn note(&self, committed: &Committed) -> Result<()> {
        self.objects.put(&self.name(COMMIT), to_json(committed)?)
    }

    /// Takes the note back: nothing was committed.
    pub fn forget(&self) -> Result<()> {
        self.objects.delete(&self.name(COMMIT))
    }

    fn create(&self, name: &str, value: &impl Serialize) -> Result<Created> {
        self.objects.create(&self.name(name), to_json(value)?)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let name = self.name(name);
        let bytes = self.objects.get(&name)?;
        bytes.map(|bytes| self.parse(&name, &bytes)).transpose()
    }

    fn parse<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|error| self.damaged(name, &error.to_string()))
    }

    fn damaged(&self, name: &str, why: &str) -> Error {
        let place = self.objects.location().join(name);
        Error::new(ErrorKind::Data, format!("`{place}` is damaged"))
            .because(why)
            .hint("remove it, and run its unit again")
    }
}

fn receipt_name(key: &UnitKey) -> String {
    format!("receipts/{key}.json")
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::new(ErrorKind::Other, "cannot write JSON").with_source(error))?;
    text.push(b'\n');
    Ok(text)
}
