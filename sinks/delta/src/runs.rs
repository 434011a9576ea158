//! What a run is known by in a table.

use mixflow_core::Result;
use mixflow_core::sink::TxnContext;
use sha2::{Digest as _, Sha256};

use crate::place::Place;
use crate::table::Table;

/// Returns what a run is known by in the table: the dataset, and which run of it.
pub(crate) fn transaction_of(cx: &TxnContext) -> (String, i64) {
    let hash = Sha256::digest(cx.run_id.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    let version = i64::from_be_bytes(first) & i64::MAX;
    (format!("mixflow.{}", cx.source.dataset.key()), version)
}

/// Returns whether a run has committed to a table.
pub(crate) fn has_committed(place: &Place, table: &Table, cx: &TxnContext) -> Result<bool> {
    let (app, version) = transaction_of(cx);
    let last = table.snapshot.get_app_id_version(&app, place.engine());
    let last = last.map_err(place.failed("read the transactions of the table"))?;
    let key = cx.source.dataset.key();
    Ok(last == Some(version) || table.ledger.files.has_run(&key, &cx.run_id))
}
