//! How much memory DuckDB may use while a run writes.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::thread;

use arrow::array::{Array as _, AsArray as _, RecordBatch, StringArray};

/// Threads of DuckDB that take rows at once, at most.
pub(crate) const MOST_THREADS: u64 = 4;

/// Rows of a row group, which DuckDB compresses at once, in a file that it opens. Until
/// then all rows are in memory, or in a temporary file that is read again.
pub(crate) const THEIR_ROW_GROUP: u64 = 122_880;

/// The same in a file that a run makes: half of it.
///
/// A million events from Parquet, by two threads, of which the last one to compress
/// a row group has less to do alone, 192 MB allowed:
///
/// | columns | rows of a group | time | CPU | peak | file |
/// |---|---|---|---|---|---|
/// | 5 | 122,880 | 1.29 s | 2.43 s | 250 MB | 92.0 MB |
/// | 5 | 61,440 | 1.15 s | 2.19 s | 186 MB | 92.3 MB |
/// | 5 | 40,960 | 1.16 s | 2.24 s | 169 MB | 93.6 MB |
/// | 29 | 122,880 | 2.9 s | 5.6 s | 266 MB | 117.5 MB |
/// | 29 | 61,440 | 2.6 s | 5.0 s | 247 MB | 118.1 MB |
/// | 29 | 40,960 | 2.7 s | 5.2 s | 225 MB | 122.6 MB |
pub(crate) const ROW_GROUP: u64 = 61_440;

/// What DuckDB needs beside the row groups of its threads, in MB.
const BESIDE_MB: u64 = 32;

/// Returns what DuckDB may use while a run writes, in MB.
///
/// Its own default is 80 % of the machine, which it fills with blocks that it
/// has written already. What matters is that the row groups of all threads fit:
/// else they are written to a temporary file and read again, which costs more
/// than a thread brings. A million events over HTTP, on two cores, with row groups of
/// 122,880 rows:
///
/// | bytes an event | threads | limit | time | CPU | peak |
/// |---|---|---|---|---|---|
/// | 523 | 1 | 144 MB | 2.40 s | 3.2 s | 175 MB |
/// | 523 | 2 | 224 MB | 2.05 s | 3.3 s | 238 MB |
/// | 900 | 1 | 128 MB | 3.00 s | 4.3 s | 233 MB |
/// | 900 | 2 | 128 MB | 3.51 s | 5.7 s | 250 MB |
/// | 900 | 2 | 192 MB | 3.04 s | 4.8 s | 312 MB |
/// | 900 | 2 | 224 MB | 2.79 s | 4.4 s | 333 MB |
pub(crate) fn run_mb() -> u64 {
    64 + 64 * most_threads()
}

/// What DuckDB may use in a store that is also asked, in MB: a million events
/// are to fit into 500 MB of memory, queries and all.
pub(crate) const STORE_MB: u64 = 256;

/// What DuckDB may use where a file is only read, in MB. It keeps the blocks
/// that it has read, so that without a limit a scan takes as much as the file.
pub(crate) const READ_MB: u64 = 1_000;

/// Rows that DuckDB compresses at once, with all of their values in memory.
const VECTOR: u64 = 2_048;

/// The size of DuckDB's blocks. What is larger has one of its own.
const BLOCK: u64 = 256 << 10;

/// A text of so many bytes wastes less than one in 250 of a block: not worth dividing
/// for, of usual texts.
const SHORT: i32 = 1_024;

/// The size of a step, so that not every batch sets a limit.
const STEP_MB: u64 = 16;

/// Gives DuckDB more memory where values are large.
///
/// What waits for the commit is written to disk and read again for it, a
/// vector of rows at a time, and that has to fit: 2,000 values of 300 KB, or
/// 4,000 of 100 KB under 256 MB, failed with `could not pin block` at commit.
/// Values of 17 KB need 36 MB, however many they are; to allow the sum of a
/// whole row group for them let 60,000 take 2.1 GB.
#[derive(Debug)]
pub(crate) struct Allowance {
    usual_mb: u64,
    /// Rows and bytes of the last batches, as many as a vector may span.
    recent: VecDeque<(u64, u64)>,
    extra_mb: u64,
    /// Rows of a row group.
    row_group: u64,
    /// Rows and bytes so far.
    rows: u64,
    bytes: u64,
    /// Threads that may take rows at once.
    threads: u64,
    /// Those that the first rows have room for.
    first: Option<u64>,
}

/// Returns how many threads may take rows at once on this machine.
pub(crate) fn most_threads() -> u64 {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    MOST_THREADS.min(cores as u64)
}

impl Allowance {
    /// Begins with a limit that is set already, for at most so many threads
    /// that take rows at once, into row groups of so many rows.
    pub(crate) fn new(usual_mb: u64, threads: u64, row_group: u64) -> Allowance {
        Allowance {
            usual_mb,
            row_group,
            recent: VecDeque::new(),
            extra_mb: 0,
            rows: 0,
            bytes: 0,
            threads,
            first: None,
        }
    }

    /// Returns how many threads are to take the next rows: as many as have room
    /// for a row group each, by the first rows and, when there is a row group, by
    /// all of them. From then on never more again than there were.
    pub(crate) fn threads(&mut self) -> u64 {
        let group = (self.bytes / self.rows.max(1) * self.row_group).max(1);
        let room = self.usual_mb.saturating_sub(BESIDE_MB) * 1_000_000;
        let fitting = (room / group).clamp(1, self.threads);
        if self.rows <= self.row_group {
            return *self.first.get_or_insert(fitting);
        }
        self.threads = fitting;
        fitting
    }

    /// Returns the limit in MB that a batch needs, if it is above what was.
    pub(crate) fn raised_for(&mut self, batch: &RecordBatch) -> Option<u64> {
        let (rows, bytes) = (batch.num_rows() as u64, in_blocks(batch));
        self.recent.push_back((rows, bytes));
        self.rows += rows;
        self.bytes += bytes;
        let needed_mb = self.needed_by_a_vector() * 5 / 4 / 1_000_000;
        // A quarter of what there is serves a vector of usual rows.
        let extra_mb = needed_mb.saturating_sub(self.usual_mb / 4);
        let extra_mb = extra_mb.next_multiple_of(STEP_MB);
        let news = extra_mb > self.extra_mb;
        news.then(|| {
            self.extra_mb = extra_mb;
            self.usual_mb + extra_mb
        })
    }

    /// Returns the bytes of the last batches that a vector may span, and
    /// forgets those before.
    fn needed_by_a_vector(&mut self) -> u64 {
        let latest = self.recent.back().map_or(0, |(rows, _)| *rows);
        let mut between: u64 = self.recent.iter().map(|(rows, _)| rows).sum();
        between -= latest;
        while let Some((rows, _)) = self.recent.front()
            && self.recent.len() > 1
            && between - rows >= VECTOR
        {
            between -= rows;
            self.recent.pop_front();
        }
        self.recent.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Returns what the texts of a batch take in DuckDB's blocks.
fn in_blocks(batch: &RecordBatch) -> u64 {
    let columns = batch.columns().iter();
    let texts = columns.filter_map(|column| column.as_string_opt::<i32>());
    texts.map(texts_in_blocks).sum()
}

fn texts_in_blocks(texts: &StringArray) -> u64 {
    let offsets = texts.value_offsets();
    let lengths = || offsets.windows(2).map(|ends| ends[1] - ends[0]);
    if lengths().max().unwrap_or(0) <= SHORT {
        return u64::try_from(offsets[texts.len()] - offsets[0]).unwrap_or(0);
    }
    lengths()
        .filter_map(|length| u64::try_from(length).ok())
        .map(share_of_blocks)
        .sum()
}

/// Returns the blocks' bytes that a value keeps from others.
fn share_of_blocks(length: u64) -> u64 {
    match BLOCK.checked_div(length) {
        None => 0,
        Some(0) => length.next_multiple_of(BLOCK),
        Some(in_a_block) => BLOCK / in_a_block,
    }
}
