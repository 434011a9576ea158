//! The rows of a body that is known to be whole.

use std::collections::VecDeque;

use arrow::record_batch::RecordBatch;
use mixflow_core::context::UnitContext;
use mixflow_core::error::Result;
use mixflow_core::reject::Reject;

use super::ahead::AheadRows;
use super::parallel::{Feed, Rest, Step};
use super::taken::Taken;
use super::window::spool_error;
use crate::cores::Cores;
use crate::decode::{Decoder, Uncounted};
use crate::http::encoding::Reader;
use crate::http::lines::{Line, Lines};

/// The rows of a body that is known to be whole.
pub(super) struct BodyRows<'a> {
    /// What was decoded while the body came: its beginning.
    ahead: Option<AheadRows>,
    /// The rest; `None` at its end.
    feed: Option<Feed>,
    /// What other threads have decoded, which comes before what `decoder` has.
    ready: VecDeque<Uncounted>,
    decoder: Decoder,
    batches: u64,
    records: Records<'a>,
    _core: Cores,
}

/// Which records of a body are taken.
struct Records<'a> {
    label: &'a str,
    cx: &'a UnitContext,
    taken: Taken,
}

impl Records<'_> {
    fn reject(&self, line: &Line<'_>, reason: &str) -> Result<()> {
        if !self.taken.has_first_day() {
            return Ok(());
        }
        self.cx.reject(&Reject {
            partition: self.label,
            line: line.number,
            reason,
            record: line.bytes,
        })
    }

    fn push(&self, line: &Line<'_>, decoder: &mut Decoder) -> Result<()> {
        let pushed = decoder.push(line.bytes);
        pushed.or_else(|reason| self.reject(line, &reason))
    }

    fn count(&self, rows: Uncounted) -> Result<RecordBatch> {
        if self.taken.is_all() {
            Ok(rows.counted(self.cx))
        } else {
            rows.some(self.cx, |us| self.taken.has(us))
        }
    }
}

impl<'a> BodyRows<'a> {
    /// Reads the rows of `lines`, which are those of the unit called `label`.
    pub(super) fn new(
        lines: Lines<Reader<'static>>,
        decoder: Decoder,
        label: &'a str,
        cx: &'a UnitContext,
    ) -> BodyRows<'a> {
        BodyRows {
            ahead: None,
            feed: Some(Feed::Lines(Rest::of(lines))),
            ready: VecDeque::new(),
            decoder,
            batches: 0,
            records: Records {
                label,
                cx,
                taken: Taken::ALL,
            },
            _core: Cores::one(),
        }
    }

    /// Begins with rows that were decoded while the body came.
    pub(super) fn after(self, ahead: Option<AheadRows>) -> BodyRows<'a> {
        BodyRows { ahead, ..self }
    }

    /// Reads the rows of some days. Records that cannot be read are those of the
    /// body's first day, so that they are told once.
    pub(super) fn of(mut self, taken: Taken) -> BodyRows<'a> {
        self.records.taken = taken;
        self
    }

    /// Reads one line, or what is in the place of many.
    fn step(&mut self, feed: &mut Feed) -> Result<bool> {
        let failed = match feed {
            Feed::Lines(rest) => match rest.lines.next() {
                Ok(Some(line)) => {
                    self.records.push(&line, &mut self.decoder)?;
                    return Ok(true);
                }
                Ok(None) => return Ok(false),
                Err(error) => error,
            },
            Feed::Parallel(parallel) => match parallel.next()? {
                Step::Block(decoded) => {
                    for (line, reason) in decoded.rejects() {
                        self.records.reject(&line, reason)?;
                    }
                    self.ready.extend(parallel.rows_of(decoded));
                    return Ok(true);
                }
                Step::End(last) => {
                    if let Some(last) = last {
                        self.records.push(&last.as_line(), &mut self.decoder)?;
                    }
                    return Ok(false);
                }
                Step::Failed(error) => error,
            },
        };
        self.records.cx.cancel.check()?;
        Err(spool_error(failed))
    }

    /// Takes what was decoded while the body came. The threads for the rest are
    /// started meanwhile.
    fn take_ahead(&mut self) -> Result<()> {
        let cancel = &self.records.cx.cancel;
        while self.ready.is_empty()
            && let Some(ahead) = &mut self.ahead
        {
            let Some(decoded) = ahead.next(cancel)? else {
                self.ahead = None;
                break;
            };
            for (line, reason) in &decoded.rejects {
                self.records.reject(&line.as_line(), reason)?;
            }
            self.ready.extend(decoded.rows);
            let feed = self.feed.take();
            self.feed = feed.map(|feed| feed.spread(0, &self.decoder, cancel));
        }
        Ok(())
    }

    /// Returns the next rows, decoded; `None` if there are none.
    fn take(&mut self) -> Result<Option<Uncounted>> {
        self.take_ahead()?;
        while self.ready.is_empty()
            && !self.decoder.is_full()
            && let Some(mut feed) = self.feed.take()
        {
            if self.step(&mut feed)? {
                self.feed = Some(feed);
            }
        }
        if let Some(rows) = self.ready.pop_front() {
            return Ok(Some(rows));
        }
        self.batches += 1;
        let rows = self.decoder.take_uncounted();
        let (decoder, cancel) = (&self.decoder, &self.records.cx.cancel);
        let feed = self.feed.take();
        self.feed = feed.map(|feed| feed.spread(self.batches, decoder, cancel));
        Ok(rows)
    }
}

impl Iterator for BodyRows<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            let rows = match self.take() {
                Ok(rows) => self.records.count(rows?),
                Err(error) => Err(error),
            };
            match rows {
                // All of it is of other days.
                Ok(rows) if rows.num_rows() == 0 => {}
                rows => return Some(rows),
            }
        }
    }
}
