//! How much memory DuckDB may use while a run writes.

use arrow::array::{Array as _, AsArray as _, RecordBatch};

/// What DuckDB may use while a run writes, in MB.
///
/// Its own default is 80 % of the machine, which it fills with blocks that it
/// has written already. Peak memory of a run and its time, on two cores:
///
/// | limit | 1,000,000 events | 5,000,000 events |
/// |---|---|---|
/// | none | 844 MB, 9.9 s (before zstd) | |
/// | 200 MB | 149 MB, 3.9 s | 217 MB |
/// | 100 MB | 143 MB, 3.8 s | 168 MB, 20 s |
/// | 64 MB | 125 MB, 4.0 s | 136 MB, 20 s |
/// | 48 MB | 122 MB, 5.1 s | 128 MB, 25 s |
pub(crate) const RUN_MB: u64 = 64;

/// What DuckDB may use in a store that is also asked, in MB: a million events
/// are to fit into 500 MB of memory, queries and all.
pub(crate) const STORE_MB: u64 = 256;

/// What DuckDB may use where a file is only read, in MB. It keeps the blocks
/// that it has read, so that without a limit a scan takes as much as the file.
pub(crate) const READ_MB: u64 = 1_000;

/// Rows of one of DuckDB's row groups, which are compressed as a whole.
const ROW_GROUP: u64 = 122_880;

/// A value that DuckDB does not keep in a block among others, more or less.
const LARGE: usize = 16 << 10;

/// Gives DuckDB more memory where values are large.
///
/// DuckDB compresses a row group at once, and holds the large values of the
/// whole group in memory for it: twelve values of 60 MB, or 2,000 of 300 KB,
/// failed with `could not pin block` at commit under any limit below their
/// sum. Mixpanel documents 1 MB for an event, so that this is rare.
#[derive(Debug)]
pub(crate) struct Allowance {
    usual_mb: u64,
    rows: u64,
    /// Bytes of large values in this row group, and in the one before it,
    /// which may still be in memory.
    large: u64,
    large_before: u64,
    extra_mb: u64,
}

impl Allowance {
    /// Begins with a limit that is set already.
    pub(crate) fn new(usual_mb: u64) -> Allowance {
        Allowance {
            usual_mb,
            rows: 0,
            large: 0,
            large_before: 0,
            extra_mb: 0,
        }
    }

    /// Returns the limit in MB that a batch needs, if it is above what was.
    pub(crate) fn raised_for(&mut self, batch: &RecordBatch) -> Option<u64> {
        self.rows += batch.num_rows() as u64;
        self.large += large_bytes(batch);
        // Twice: the values, and the blocks that they are compressed into.
        let extra_mb = 2 * (self.large + self.large_before) / 1_000_000;
        if self.rows >= ROW_GROUP {
            self.rows -= ROW_GROUP;
            self.large_before = std::mem::take(&mut self.large);
        }
        // In steps, so that not every batch sets it.
        let news = extra_mb > self.extra_mb;
        news.then(|| {
            self.extra_mb = extra_mb + self.usual_mb;
            self.usual_mb + self.extra_mb
        })
    }
}

/// Returns the bytes of the large values of a batch.
fn large_bytes(batch: &RecordBatch) -> u64 {
    let columns = batch.columns().iter();
    let texts = columns.filter_map(|column| column.as_string_opt::<i32>());
    texts
        .filter(|texts| texts.value_data().len() >= LARGE)
        .flat_map(|texts| (0..texts.len()).map(|row| texts.value_length(row)))
        .filter_map(|length| usize::try_from(length).ok())
        .filter(|length| *length >= LARGE)
        .map(|length| length as u64)
        .sum()
}
