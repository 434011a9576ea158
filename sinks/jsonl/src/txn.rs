//! One run's lines.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::PathBuf;

use mixflow_core::batch::Batch;
use mixflow_core::sink::{CommitSummary, Outcome, PartitionInfo, Residue, SinkTxn, check_replace};
use mixflow_core::staged::{StagedFile, cannot};
use mixflow_core::{Error, Result};

use crate::count::lines_in;
use crate::encode::Encoder;

/// Encodes batches into one buffer, which is reused.
struct Lines {
    encoder: Encoder,
    buffer: Vec<u8>,
    rows: u64,
    destination: String,
}

impl Lines {
    fn new(encoder: Encoder, destination: String) -> Lines {
        Lines {
            encoder,
            buffer: Vec::new(),
            rows: 0,
            destination,
        }
    }

    fn encode(&mut self, batch: &Batch) -> Result<()> {
        self.buffer.clear();
        self.encoder.encode(&batch.records, &mut self.buffer)
    }

    fn failed(&self, error: io::Error) -> Error {
        cannot(format_args!("write to {}", self.destination))(error)
    }

    fn summary(self) -> CommitSummary {
        CommitSummary {
            rows: self.rows,
            destination: self.destination,
            warnings: Vec::new(),
        }
    }
}

/// Lines on a stream, which shows each batch as it is written.
pub(crate) struct StreamTxn<W> {
    out: W,
    lines: Lines,
}

impl<W: Write> StreamTxn<W> {
    pub(crate) fn new(out: W, encoder: Encoder, destination: String) -> StreamTxn<W> {
        StreamTxn {
            out,
            lines: Lines::new(encoder, destination),
        }
    }
}

impl<W: Write> SinkTxn for StreamTxn<W> {
    fn partition(&mut self, _info: &PartitionInfo) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.lines.encode(batch)?;
        // In one piece: standard output passes whole lines on as they are.
        let mut sent = 0;
        let mut outcome = Ok(());
        while sent < self.lines.buffer.len() && outcome.is_ok() {
            match self.out.write(&self.lines.buffer[sent..]) {
                Ok(0) => outcome = Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => sent += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => outcome = Err(error),
            }
        }
        let outcome = outcome.and_then(|()| self.out.flush());
        // Also after an error, so that the residue is told truly.
        self.lines.rows += memchr::memchr_iter(b'\n', &self.lines.buffer[..sent]).count() as u64;
        outcome.map_err(|error| self.lines.failed(error))
    }

    fn commit(self: Box<Self>, _outcome: &Outcome<'_>) -> Result<CommitSummary> {
        Ok(self.lines.summary())
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        Ok(match self.lines.rows {
            0 => Residue::None,
            rows => Residue::Rows(rows),
        })
    }
}

/// Lines in a file that appears at commit.
pub(crate) struct FileTxn {
    file: StagedFile,
    lines: Lines,
    /// The file whose lines may not be given up for next to none.
    guarded: Option<PathBuf>,
}

impl FileTxn {
    pub(crate) fn new(
        file: StagedFile,
        encoder: Encoder,
        destination: String,
        guarded: Option<PathBuf>,
    ) -> FileTxn {
        FileTxn {
            file,
            lines: Lines::new(encoder, destination),
            guarded,
        }
    }

    fn check_replace(&self) -> Result<()> {
        let Some(path) = self.guarded.as_ref().filter(|path| path.exists()) else {
            return Ok(());
        };
        let before = File::open(path)
            .and_then(|file| lines_in(BufReader::with_capacity(1 << 20, file)))
            .map_err(cannot(format_args!("read `{}`", path.display())))?;
        let shown = format!("`{}`", self.lines.destination);
        check_replace(&shown, before, self.lines.rows)
    }
}

impl SinkTxn for FileTxn {
    fn partition(&mut self, _info: &PartitionInfo) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.lines.encode(batch)?;
        self.file
            .write_all(&self.lines.buffer)
            .map_err(|error| self.lines.failed(error))?;
        self.lines.rows += batch.records.num_rows() as u64;
        Ok(())
    }

    fn commit(self: Box<Self>, _outcome: &Outcome<'_>) -> Result<CommitSummary> {
        self.check_replace()?;
        self.file.commit()?;
        Ok(self.lines.summary())
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        Ok(Residue::None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use mixflow_core::ErrorKind;
    use mixflow_core::batch::PartitionId;
    use mixflow_core::sink::RecordFormat;
    use mixflow_core::staged::FileMode;

    use super::*;

    fn batch(rows: std::ops::Range<i64>) -> Batch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(rows));
        Batch {
            records: RecordBatch::try_from_iter([("n", column)]).expect("it fits"),
            partition: PartitionId(0),
        }
    }

    fn encoder() -> Encoder {
        let schema = batch(0..1).records.schema();
        Encoder::new(&schema, RecordFormat::Normalized).expect("it has a form")
    }

    const ALL: Outcome<'static> = Outcome {
        missing: &[],
        rows: 0,
    };

    /// Takes so many bytes, some at a time, and then has no reader any more.
    struct Pipe {
        room: usize,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room).min(7);
            self.room -= taken;
            match taken {
                0 if !bytes.is_empty() => Err(io::ErrorKind::BrokenPipe.into()),
                _ => Ok(taken),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_reader_is_told_with_the_rows_that_went_out() {
        // Lines of eight bytes: the third one is cut.
        let mut txn = Box::new(StreamTxn::new(
            Pipe { room: 20 },
            encoder(),
            "it".to_owned(),
        ));
        let error = txn.write(&batch(0..5)).expect_err("the reader is gone");
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert_eq!(txn.abort().expect("it can tell"), Residue::Rows(2));
    }

    #[test]
    fn a_stream_gets_all_lines() {
        let mut out = Vec::new();
        let mut txn = Box::new(StreamTxn::new(&mut out, encoder(), "it".to_owned()));
        txn.write(&batch(0..2)).expect("writes");
        txn.write(&batch(0..0)).expect("writes nothing");
        txn.write(&batch(2..3)).expect("writes");
        assert_eq!(txn.commit(&ALL).expect("commits").rows, 3);
        assert_eq!(out, b"{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n");
    }

    #[test]
    fn a_file_appears_at_commit() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("a.jsonl");
        let begin = || {
            let staged = StagedFile::begin(&path, FileMode::Append).expect("begins");
            Box::new(FileTxn::new(staged, encoder(), "a.jsonl".to_owned(), None))
        };
        let mut txn = begin();
        txn.write(&batch(0..1)).expect("writes");
        assert!(!path.exists());
        txn.commit(&ALL).expect("commits");
        let mut txn = begin();
        txn.write(&batch(1..2)).expect("writes");
        assert_eq!(txn.abort().expect("aborts"), Residue::None);
        let mut txn = begin();
        txn.write(&batch(2..3)).expect("writes");
        txn.commit(&ALL).expect("commits");
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert_eq!(text, "{\"n\":0}\n{\"n\":2}\n");
    }
}
