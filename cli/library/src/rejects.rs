//! The reject file: records that cannot be read, with where they were.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use mixflow_core::Result;
use mixflow_core::private;
use mixflow_core::reject::{Reject, RejectLog};
use mixflow_core::staged::cannot;
use mixflow_core::text::hex;
use serde::Serialize;

/// Bytes of whole lines that are written at once.
const STEP: usize = 64 << 10;

/// Writes a JSON object a line; makes the file with the first reject.
///
/// A disk of state that is full fails no run: what has no room there goes on
/// in the system's temporary folder, and what has none there either is only
/// counted, with a warning. Mixpanel still has these records.
pub(crate) struct RejectFile {
    /// Where to write next, last first.
    places: Vec<PathBuf>,
    open: Option<Open>,
    /// Files that were written before a disk was full.
    filled: Vec<PathBuf>,
    /// Whole lines that are not written yet, and their number.
    pending: Vec<u8>,
    lines: u64,
    lost: u64,
}

struct Open {
    file: File,
    path: PathBuf,
    /// Bytes of whole lines.
    length: u64,
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
        let elsewhere = std::env::temp_dir().join(format!("mixflow-{run_id}"));
        RejectFile {
            places: vec![
                elsewhere.join("rejects.jsonl"),
                folder.join(format!("{run_id}.jsonl")),
            ],
            open: None,
            filled: Vec::new(),
            pending: Vec::new(),
            lines: 0,
            lost: 0,
        }
    }

    /// Writes what is pending to the first place that takes it.
    fn flush(&mut self) {
        while !self.pending.is_empty() {
            let written = match &mut self.open {
                Some(open) => open.write(&self.pending),
                None => match self.places.pop() {
                    Some(path) => match Open::new(path) {
                        Ok(open) => {
                            self.open = Some(open);
                            continue;
                        }
                        Err(error) => Err(error),
                    },
                    None => {
                        self.lost += self.lines;
                        break;
                    }
                },
            };
            match written {
                Ok(()) => break,
                Err(error) => {
                    log::warn!("cannot write the reject file: {error}");
                    let full = self.open.take().filter(|open| open.length > 0);
                    self.filled.extend(full.map(|open| open.path));
                }
            }
        }
        self.pending.clear();
        self.lines = 0;
    }
}

impl Open {
    fn new(path: PathBuf) -> io::Result<Open> {
        if let Some(folder) = path.parent() {
            private::create_folder(folder)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let file = private::file(&mut options).open(&path)?;
        Ok(Open {
            file,
            path,
            length: 0,
        })
    }

    /// Writes whole lines, or leaves none of them.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(lines);
        match written {
            Ok(()) => self.length += lines.len() as u64,
            Err(_) => self.file.set_len(self.length)?,
        }
        written
    }
}

impl RejectLog for RejectFile {
    fn write(&mut self, reject: &Reject<'_>) -> Result<()> {
        let text = String::from_utf8_lossy(reject.record);
        let is_lossy = matches!(text, std::borrow::Cow::Owned(_));
        let line = Line {
            partition: reject.partition,
            line: reject.line,
            reason: reject.reason,
            record: text,
            record_hex: is_lossy.then(|| hex(reject.record)),
        };
        serde_json::to_writer(&mut self.pending, &line).expect("memory takes texts and numbers");
        self.pending.push(b'\n');
        self.lines += 1;
        if self.pending.len() >= STEP {
            self.flush();
        }
        Ok(())
    }

    fn start_over(&mut self) -> Result<()> {
        self.pending.clear();
        (self.lines, self.lost) = (0, 0);
        let open = self.open.take().map(|open| open.path);
        for path in self.filled.drain(..).chain(open.clone()) {
            let what = format!("start the reject file `{}` over", path.display());
            std::fs::remove_file(&path).map_err(cannot(what))?;
        }
        self.places.extend(open);
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<String>> {
        self.flush();
        if let Some(open) = &self.open
            && let Err(error) = open.file.sync_all()
        {
            log::warn!("the reject file may not outlive a power cut: {error}");
        }
        let open = self.open.as_ref().map(|open| &open.path);
        let mut places: Vec<String> = self
            .filled
            .iter()
            .chain(open)
            .map(|path| path.display().to_string())
            .collect();
        if self.lost > 0 && !places.is_empty() {
            places.push(format!(
                "nowhere ({} of them, as no disk has room)",
                self.lost
            ));
        }
        Ok((!places.is_empty()).then(|| places.join(" and ")))
    }
}
