//! One run's lines.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use mixflow_core::batch::Batch;
use mixflow_core::sink::{CommitSummary, Outcome, PartitionInfo, Residue, SinkTxn, check_replace};
use mixflow_core::staged::{FileMode, StagedFile, cannot};
use mixflow_core::{Error, Result};

use crate::count::lines_of;
use crate::encode::Encoder;
use crate::gzip::{is_gzip, last_byte};

/// What `gzip` takes if nobody says otherwise.
const GZIP_LEVEL: u32 = 6;

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
        // Nobody reads, and the run is to stop.
        if error.kind() == io::ErrorKind::TimedOut {
            return Error::interrupted();
        }
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

/// A file that appears at commit, as it is named: gzipped or not.
enum Out {
    Plain(StagedFile),
    Gzip(Box<GzEncoder<StagedFile>>),
}

impl Out {
    fn begin(path: &Path, mode: FileMode) -> Result<Out> {
        if !is_gzip(path) {
            return Ok(Out::Plain(StagedFile::begin(path, mode)?));
        }
        let last = match mode {
            FileMode::Append => last_byte(path)?,
            FileMode::Create | FileMode::Replace => None,
        };
        // What is added is a member of its own, which readers join.
        let staged = StagedFile::begin_exact(path, mode)?;
        let mut encoder = GzEncoder::new(staged, Compression::new(GZIP_LEVEL));
        if last.is_some_and(|last| last != b'\n') {
            let what = format!("write to {}", path.display());
            encoder.write_all(b"\n").map_err(cannot(what))?;
        }
        Ok(Out::Gzip(Box::new(encoder)))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Out::Plain(file) => file.write_all(bytes),
            Out::Gzip(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<StagedFile> {
        match self {
            Out::Plain(file) => Ok(file),
            Out::Gzip(encoder) => encoder.finish(),
        }
    }
}

/// Lines in a file that appears at commit.
pub(crate) struct FileTxn {
    out: Out,
    lines: Lines,
    /// The file whose lines may not be given up for next to none.
    guarded: Option<PathBuf>,
}

impl FileTxn {
    pub(crate) fn begin(
        path: &Path,
        mode: FileMode,
        encoder: Encoder,
        guarded: Option<PathBuf>,
    ) -> Result<FileTxn> {
        Ok(FileTxn {
            out: Out::begin(path, mode)?,
            lines: Lines::new(encoder, path.display().to_string()),
            guarded,
        })
    }

    fn check_replace(&self) -> Result<()> {
        let Some(path) = self.guarded.as_ref().filter(|path| path.exists()) else {
            return Ok(());
        };
        let before = lines_of(path).map_err(cannot(format_args!("read `{}`", path.display())))?;
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
        self.out
            .write_all(&self.lines.buffer)
            .map_err(|error| self.lines.failed(error))?;
        self.lines.rows += batch.records.num_rows() as u64;
        Ok(())
    }

    fn commit(self: Box<Self>, _outcome: &Outcome<'_>) -> Result<CommitSummary> {
        self.check_replace()?;
        let finished = self.out.finish();
        let file = finished.map_err(|error| self.lines.failed(error))?;
        file.commit()?;
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
        units: &[],
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
            let txn = FileTxn::begin(&path, FileMode::Append, encoder(), None);
            Box::new(txn.expect("begins"))
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

    fn unzipped(path: &Path) -> String {
        let mut text = String::new();
        let bytes = std::fs::read(path).expect("it is there");
        let mut decoder = flate2::bufread::MultiGzDecoder::new(bytes.as_slice());
        io::Read::read_to_string(&mut decoder, &mut text).expect("it is gzip to its end");
        text
    }

    fn add(path: &Path, mode: FileMode, rows: std::ops::Range<i64>) {
        let mut txn = Box::new(FileTxn::begin(path, mode, encoder(), None).expect("begins"));
        txn.write(&batch(rows)).expect("writes");
        txn.commit(&ALL).expect("commits");
    }

    #[test]
    fn a_name_that_ends_in_gz_is_a_gzipped_file() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("a.jsonl.gz");
        add(&path, FileMode::Create, 0..1);
        assert_eq!(unzipped(&path), "{\"n\":0}\n");
        add(&path, FileMode::Append, 1..2);
        let whole = "{\"n\":0}\n{\"n\":1}\n";
        assert_eq!(unzipped(&path), whole);
        // Given up after more than any buffer holds.
        let mut txn = FileTxn::begin(&path, FileMode::Append, encoder(), None).expect("begins");
        for _ in 0..100 {
            txn.write(&batch(0..10_000)).expect("writes");
        }
        drop(txn);
        assert_eq!(unzipped(&path), whole);
        assert_eq!(
            mixflow_core::testing::names_in(folder.path()),
            ["a.jsonl.gz"]
        );
        add(&path, FileMode::Replace, 5..6);
        assert_eq!(unzipped(&path), "{\"n\":5}\n");
        add(&path, FileMode::Replace, 0..0);
        assert_eq!(unzipped(&path), "");
    }

    #[test]
    fn the_lines_of_a_gzipped_file_are_not_given_up_for_none() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("a.jsonl.gz");
        add(&path, FileMode::Create, 0..1_000);
        let replaced = |rows| {
            let guarded = Some(path.clone());
            let txn = FileTxn::begin(&path, FileMode::Replace, encoder(), guarded);
            let mut txn = Box::new(txn.expect("begins"));
            txn.write(&batch(0..rows)).expect("writes");
            txn.commit(&ALL)
        };
        assert!(replaced(400).is_err());
        assert_eq!(unzipped(&path).lines().count(), 1_000);
        replaced(600).expect("that is enough");
        std::fs::write(&path, "no gzip").expect("written");
        replaced(1).expect("nobody could read what was there");
    }

    #[test]
    fn lines_are_added_to_whole_gzip_files_alone() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("a.jsonl.GZ");
        // Somebody else's, without a last line feed.
        let mut theirs = GzEncoder::new(Vec::new(), Compression::new(1));
        theirs.write_all(b"{}").expect("it takes all");
        let theirs = theirs.finish().expect("it takes all");
        std::fs::write(&path, &theirs).expect("written");
        add(&path, FileMode::Append, 0..1);
        assert_eq!(unzipped(&path), "{}\n{\"n\":0}\n");
        std::fs::write(&path, "").expect("written");
        add(&path, FileMode::Append, 0..1);
        assert_eq!(unzipped(&path), "{\"n\":0}\n");
        for bytes in [b"{}\n".as_slice(), &theirs[..theirs.len() - 3]] {
            std::fs::write(&path, bytes).expect("written");
            let error = FileTxn::begin(&path, FileMode::Append, encoder(), None);
            let error = error.err().expect("nobody could read what is added");
            assert_eq!(error.kind(), ErrorKind::Destination);
            assert_eq!(std::fs::read(&path).expect("it is there"), bytes);
        }
    }
}
