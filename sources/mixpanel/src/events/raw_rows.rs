//! Raw records of some of a body's days.

use arrow::array::AsArray as _;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use mixflow_core::context::UnitContext;
use mixflow_core::error::Result;

use super::taken::Taken;
use super::window::spool_error;
use crate::decode::{Decoder, Form};
use crate::http::encoding::Reader;
use crate::http::lines::Lines;
use crate::schema;
use crate::time::EventClock;

/// Raw records of some of a body's days. One whose time cannot be read goes with
/// the first day.
pub(super) struct RawRows<'a> {
    lines: Lines<Reader<'static>>,
    /// Reads one record at a time, for its time.
    clock: Decoder,
    records: Decoder,
    taken: Taken,
    cx: &'a UnitContext,
    ended: bool,
}

impl<'a> RawRows<'a> {
    pub(super) fn new(
        lines: Lines<Reader<'static>>,
        clock: EventClock,
        taken: Taken,
        cx: &'a UnitContext,
    ) -> RawRows<'a> {
        RawRows {
            lines,
            clock: Decoder::new(Form::Events(clock)),
            records: Decoder::new(Form::Raw),
            taken,
            cx,
            ended: false,
        }
    }

    fn step(&mut self) -> Result<()> {
        let line = match self.lines.next() {
            Ok(Some(line)) => line.bytes,
            Ok(None) => {
                self.ended = true;
                return Ok(());
            }
            Err(error) => {
                self.cx.cancel.check()?;
                return Err(spool_error(error));
            }
        };
        let read = self.clock.push(line).ok();
        let is_taken = match read.and_then(|()| time_of(&self.clock.take()?)) {
            Some(us) => self.taken.has(us),
            None => self.taken.has_first_day(),
        };
        if is_taken {
            // A raw record is never refused.
            let _ = self.records.push(line);
        }
        Ok(())
    }
}

impl Iterator for RawRows<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        while !self.ended && !self.records.is_full() {
            if let Err(error) = self.step() {
                self.ended = true;
                return Some(Err(error));
            }
        }
        self.records.take_counted(self.cx).map(Ok)
    }
}

/// Returns the time of the only row.
fn time_of(row: &RecordBatch) -> Option<i64> {
    let times = row.column_by_name(schema::ROLES.time)?;
    Some(times.as_primitive::<TimestampMicrosecondType>().value(0))
}
