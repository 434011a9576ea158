//! Rows that a destination cannot hold, on their way to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use crate::context::UnitContext;
use crate::error::{Error, ErrorKind, Result};
use crate::json_rows::JsonRows;
use crate::reject::Reject;
use crate::sink::RowCheck;

/// Rejects rows of a unit that a sink refuses.
pub(super) struct Screen<'w> {
    checks: &'w [Arc<dyn RowCheck>],
    label: &'w str,
    /// Rows that came, for the number of the next one.
    seen: u64,
    refused: u64,
}

impl<'w> Screen<'w> {
    pub(super) fn new(checks: &'w [Arc<dyn RowCheck>], label: &'w str) -> Screen<'w> {
        Screen {
            checks,
            label,
            seen: 0,
            refused: 0,
        }
    }

    /// Returns the rows that may go on, and rejects the others.
    ///
    /// Fails when more are rejected by now than the source allows.
    pub(super) fn let_through(
        &mut self,
        records: RecordBatch,
        cx: &UnitContext,
    ) -> Result<Vec<RecordBatch>> {
        let before = self.seen;
        self.seen += records.num_rows() as u64;
        let refused = self.checks.iter().flat_map(|check| check.refused(&records));
        let refused: BTreeMap<usize, String> = refused.collect();
        if refused.is_empty() {
            let has_rows = records.num_rows() > 0;
            return Ok(has_rows.then_some(records).into_iter().collect());
        }
        let form = JsonRows::new(&records.schema())?;
        let (mut parts, mut from) = (Vec::new(), 0);
        for (row, reason) in &refused {
            let mut json = Vec::new();
            form.push_row(&records, *row, &mut json)?;
            cx.reject(&Reject {
                partition: self.label,
                line: before + *row as u64 + 1,
                reason,
                record: &json,
            })?;
            parts.push(records.slice(from, row - from));
            from = row + 1;
        }
        parts.push(records.slice(from, records.num_rows() - from));
        parts.retain(|part| part.num_rows() > 0);
        self.refused += refused.len() as u64;
        Ok(parts)
    }

    /// Returns how many rows were refused.
    ///
    /// Fails if there were some of a unit that was read elsewhere: what was counted
    /// there has them.
    pub(super) fn end(self, cx: &UnitContext) -> Result<u64> {
        if self.refused == 0 || !cx.is_carried() {
            return Ok(self.refused);
        }
        let message = format!("the destination cannot hold rows of {}", self.label);
        Err(Error::new(ErrorKind::Data, message)
            .because("they were read and counted elsewhere, so none can be left out here")
            .hint("have such rows mended by the sink, if it can"))
    }
}
