//! Lines of a body, cut off together.

use crossbeam::channel::Sender;
use mixflow_core::batch::MAX_BATCH_ROWS;

use crate::http::lines::{Line, OwnedLine};

/// Bytes of a block, but for a line that is longer and has one of its own. Tests
/// have small blocks, so that all of them have several.
const BYTES: usize = if cfg!(test) { 300 } else { 2 << 20 };

/// Lines of a block.
const LINES: usize = if cfg!(test) { 5 } else { MAX_BATCH_ROWS };

/// Some lines of a body, one after the other: a batch of ordinary records.
#[derive(Default)]
pub(super) struct Block {
    bytes: Vec<u8>,
    lines: Vec<Place>,
    /// Whoever waits for the block to be out of use hears of it when this is
    /// dropped.
    pub(super) in_use: Option<Sender<Never>>,
}

/// Nothing is ever sent: a channel of it tells that its senders are gone.
#[derive(PartialEq)]
pub(super) enum Never {}

/// Where a line stands.
struct Place {
    number: u64,
    ended: bool,
    /// Where it ends among the bytes.
    end: usize,
}

impl Block {
    /// Returns whether a line of this length belongs to the next block.
    pub(super) fn is_full_for(&self, length: usize) -> bool {
        let fits = self.lines.len() < LINES && self.bytes.len() + length <= BYTES;
        !self.lines.is_empty() && !fits
    }

    /// Returns whether it holds a line that is longer than usual.
    pub(super) fn is_long(&self) -> bool {
        self.bytes.len() > BYTES
    }

    pub(super) fn push(&mut self, line: &Line<'_>) {
        self.bytes.extend_from_slice(line.bytes);
        self.lines.push(Place {
            number: line.number,
            ended: line.ended,
            end: self.bytes.len(),
        });
    }

    /// Takes the last line out.
    pub(super) fn pop(&mut self) -> Option<OwnedLine> {
        let Place { number, ended, .. } = self.lines.pop()?;
        let start = self.lines.last().map_or(0, |place| place.end);
        let bytes = self.bytes.split_off(start);
        Some(OwnedLine {
            number,
            ended,
            bytes,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns a line by its position.
    pub(super) fn line(&self, n: usize) -> Line<'_> {
        let start = n.checked_sub(1).map_or(0, |before| self.lines[before].end);
        let Place { number, ended, end } = self.lines[n];
        Line {
            number,
            ended,
            bytes: &self.bytes[start..end],
        }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        (0..self.len()).map(|n| self.line(n))
    }

    /// Empties it, to be filled again.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
        self.in_use = None;
    }
}
