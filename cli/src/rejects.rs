//! The reject file: records that cannot be read, with where they were.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use mixflow_core::reject::{Reject, RejectLog};
use mixflow_core::{Error, ErrorKind, Result};
use serde::Serialize;

/// Writes a JSON object a line; makes the file with the first reject.
pub(crate) struct RejectFile {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

/// One line. Bytes that are not UTF-8 are given in hex beside a readable form.
#[derive(Serialize)]
struct Line<'a> {
    partition: &'a str,
    line: u64,
    reason: &'a str,
    record: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record_hex: Option<String>,
}

impl RejectFile {
    pub(crate) fn new(folder: &Path, run_id: &str) -> RejectFile {
        RejectFile {
            path: folder.join(format!("{run_id}.jsonl")),
            file: None,
        }
    }

    fn open(&mut self) -> std::io::Result<&mut BufWriter<File>> {
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            // Records are personal data.
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            self.file = Some(BufWriter::new(options.open(&self.path)?));
        }
        Ok(self.file.as_mut().expect("it was opened above"))
    }

    fn append(&mut self, reject: &Reject<'_>) -> std::io::Result<()> {
        let text = String::from_utf8_lossy(reject.record);
        let is_lossy = matches!(text, std::borrow::Cow::Owned(_));
        let line = Line {
            partition: reject.partition,
            line: reject.line,
            reason: reject.reason,
            record: text,
            record_hex: is_lossy.then(|| hex(reject.record)),
        };
        let file = self.open()?;
        serde_json::to_writer(&mut *file, &line)?;
        file.write_all(b"\n")
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl RejectLog for RejectFile {
    fn write(&mut self, reject: &Reject<'_>) -> Result<()> {
        self.append(reject).map_err(|error| self.failed(error))
    }

    fn finish(&mut self) -> Result<Option<String>> {
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        let done = file.flush().and_then(|()| file.get_ref().sync_all());
        done.map_err(|error| self.failed(error))?;
        Ok(Some(self.path.display().to_string()))
    }
}

impl RejectFile {
    fn failed(&self, error: std::io::Error) -> Error {
        Error::new(
            ErrorKind::Io,
            format!("cannot write the reject file `{}`", self.path.display()),
        )
        .with_source(error)
    }
}
