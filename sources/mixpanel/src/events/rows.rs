//! The rows of a body that is known to be whole.

use std::io::Read;

use arrow::record_batch::RecordBatch;
use mixflow_core::context::UnitContext;
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::reject::Reject;

use super::taken::Taken;
use crate::decode::Decoder;
use crate::http::lines::Lines;
use crate::http::room::Room;

/// The rows of a body that is known to be whole.
pub(super) struct BodyRows<'a> {
    lines: Lines<Box<dyn Read>>,
    decoder: Decoder,
    label: &'a str,
    cx: &'a UnitContext,
    taken: Taken,
    ended: bool,
}

impl<'a> BodyRows<'a> {
    /// Reads the rows of `body`, which is the unit called `label`.
    pub(super) fn new(
        body: Box<dyn Read>,
        room: Room,
        decoder: Decoder,
        label: &'a str,
        cx: &'a UnitContext,
    ) -> BodyRows<'a> {
        BodyRows {
            lines: Lines::new(body, room),
            decoder,
            label,
            cx,
            taken: Taken::ALL,
            ended: false,
        }
    }

    /// Reads the rows of some days. Records that cannot be read are those of the
    /// body's first day, so that they are told once.
    pub(super) fn of(self, taken: Taken) -> BodyRows<'a> {
        BodyRows { taken, ..self }
    }

    /// Reads one line; there is none any more when it `ended`.
    fn step(&mut self) -> Result<()> {
        let line = match self.lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => {
                self.ended = true;
                return Ok(());
            }
            Err(error) => {
                self.cx.cancel.check()?;
                return Err(spool_error(error));
            }
        };
        match self.decoder.push(line.bytes) {
            Err(reason) if self.taken.has_first_day() => self.cx.reject(&Reject {
                partition: self.label,
                line: line.number,
                reason: &reason,
                record: line.bytes,
            }),
            _ => Ok(()),
        }
    }
}

impl Iterator for BodyRows<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            while !self.ended && !self.decoder.is_full() {
                if let Err(error) = self.step() {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
            let rows = if self.taken.is_all() {
                self.decoder.take_counted(self.cx).map(Ok)
            } else {
                self.decoder.take_some(self.cx, |us| self.taken.has(us))
            };
            match rows {
                // All of it is of other days.
                Some(Ok(rows)) if rows.num_rows() == 0 => {}
                rows => return rows,
            }
        }
    }
}

pub(super) fn spool_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot keep the export on disk")
        .with_source(error)
        .hint("free space for temporary files, or fetch smaller windows with `window_days`")
}
