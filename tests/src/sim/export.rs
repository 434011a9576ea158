//! The export endpoint: lines of events, and a cache of whole answers.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::data::Data;
use super::export_query::ExportQuery;
use super::fault::{Action, CleanCut};

/// Shorter bodies are never compressed.
const GZIP_OVER: usize = 1_400;

/// A body before its way onto the wire.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) is_gzip: bool,
    pub(super) rows: usize,
}

impl Body {
    /// Compresses the text if the client accepts that and it is long enough.
    pub(super) fn of_text(text: Vec<u8>, rows: usize, gzip: Option<u32>) -> Self {
        match gzip {
            Some(level) if text.len() > GZIP_OVER => Self {
                bytes: Arc::new(compress(&[&text], level)),
                is_gzip: true,
                rows,
            },
            _ => Self {
                bytes: Arc::new(text),
                is_gzip: false,
                rows,
            },
        }
    }

    /// Compresses the body however short it is, unless it is compressed.
    pub(super) fn compress(&mut self, level: u32) {
        if !self.is_gzip {
            self.bytes = Arc::new(compress(&[&self.bytes], level));
            self.is_gzip = true;
        }
    }
}

/// Compresses the parts, one after the other, into one gzip member.
fn compress(parts: &[&[u8]], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    for part in parts {
        encoder.write_all(part).expect("a vector takes all bytes");
    }
    encoder.finish().expect("a vector takes all bytes")
}

/// Makes the answer to an export without a cache or a fault.
///
/// `gzip` is the level if the client accepts gzip.
fn fresh(data: &Data, query: &ExportQuery, gzip: Option<u32>) -> Result<Body, String> {
    if !query.is_plain() || query.to < query.from {
        let rows = query.select(data)?;
        return Ok(Body::of_text(joined(&rows), rows.len(), gzip));
    }
    let days: Vec<_> = data.days.range(query.from..=query.to).collect();
    let rows = days.iter().map(|(_, day)| day.len()).sum();
    // A day lies in memory as it is sent, so that one day is not even copied.
    let texts: Vec<&[u8]> = days.iter().map(|(_, day)| day.text().as_slice()).collect();
    let length: usize = texts.iter().map(|text| text.len()).sum();
    let is_gzip = gzip.is_some() && length > GZIP_OVER;
    let bytes = match (gzip, days.as_slice()) {
        (Some(level), _) if is_gzip => Arc::new(compress(&texts, level)),
        (_, [(_, day)]) => Arc::clone(day.text()),
        _ => Arc::new(texts.concat()),
    };
    Ok(Body {
        bytes,
        is_gzip,
        rows,
    })
}

fn joined(rows: &[Cow<'_, [u8]>]) -> Vec<u8> {
    let mut text = Vec::new();
    for row in rows {
        text.extend_from_slice(row);
        text.push(b'\n');
    }
    text
}

/// Makes the answer to an export whose text has a fault.
pub(super) fn faulty(
    data: &Data,
    query: &ExportQuery,
    fault: &Action,
    gzip: Option<u32>,
) -> Result<Body, String> {
    let mut rows = match fault {
        Action::Where(holds) if query.where_.is_some() => {
            let all = ExportQuery {
                where_: None,
                ..query.clone()
            };
            let rows = all.select(data)?;
            rows.into_iter().filter(|_| *holds).collect()
        }
        _ => query.select(data)?,
    };
    let end = |rows: &mut Vec<Cow<'_, [u8]>>, after: usize, line: &[u8]| {
        rows.truncate(after);
        let sent = rows.len();
        rows.push(Cow::Owned(line.to_vec()));
        sent
    };
    let mut count = rows.len();
    match fault {
        Action::TerminatedEarly { after_rows, text } => {
            count = end(&mut rows, *after_rows, text.as_bytes());
        }
        Action::ErrorLine { after_rows } => {
            count = end(&mut rows, *after_rows, br#"{"error": "query timed out"}"#);
        }
        Action::BadLine { at_row, bytes } => {
            rows.insert((*at_row).min(count), Cow::Borrowed(bytes));
        }
        Action::DifferentOnRetry => rows.reverse(),
        _ => {}
    }
    let mut text = joined(&rows);
    match fault {
        Action::NoFinalNewline => {
            text.pop();
        }
        Action::CutClean(CleanCut::Line) => {
            let last = rows.last().map_or(0, |row| row.len());
            text.truncate(text.len().saturating_sub(last / 2 + 1));
            count = count.saturating_sub(1);
        }
        Action::Crlf => text = with_line_ends(&text, b"\r\n"),
        Action::BlankLines => text = with_line_ends(&text, b"\n\n"),
        Action::Bom => {
            text.splice(..0, "\u{FEFF}".bytes());
        }
        _ => {}
    }
    Ok(Body::of_text(text, count, gzip))
}

fn with_line_ends(text: &[u8], end: &[u8]) -> Vec<u8> {
    let mut changed = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        changed.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        changed.extend_from_slice(end);
    }
    changed
}

/// The last answers, so that a repeated request costs no selection and no
/// compression. Threads that ask for the same answer wait for the first one.
#[derive(Debug)]
pub(super) struct Cache {
    capacity: usize,
    entries: Mutex<VecDeque<(String, Arc<Entry>)>>,
}

type Entry = OnceLock<Result<Body, String>>;

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            entries: Mutex::default(),
        }
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Returns the answer to an export without a fault.
    pub(super) fn answer(
        &self,
        data: &Data,
        query: &ExportQuery,
        gzip: Option<u32>,
    ) -> Result<Body, String> {
        let entry = self.entry(format!("{query:?} {gzip:?}"));
        let made = entry.get_or_init(|| fresh(data, query, gzip));
        made.clone()
    }

    fn entry(&self, key: String) -> Arc<Entry> {
        let mut entries = self.lock();
        if let Some(place) = entries.iter().position(|(found, _)| *found == key)
            && let Some(found) = entries.remove(place)
        {
            let entry = Arc::clone(&found.1);
            entries.push_back(found);
            return entry;
        }
        let entry = Arc::<Entry>::default();
        entries.push_back((key, Arc::clone(&entry)));
        if entries.len() > self.capacity {
            entries.pop_front();
        }
        entry
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(String, Arc<Entry>)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::bufread::GzDecoder;
    use jiff::civil::date;
    use std::io::Read;

    fn three() -> Data {
        let mut data = Data::default();
        for line in ["first", "second", "third!"] {
            data.add_raw_line(date(2024, 1, 1), line);
        }
        data
    }

    fn query() -> ExportQuery {
        ExportQuery::new(date(2024, 1, 1), date(2024, 1, 2))
    }

    fn text_with(fault: &Action) -> (String, usize) {
        let body = faulty(&three(), &query(), fault, None).unwrap();
        (String::from_utf8(body.bytes.to_vec()).unwrap(), body.rows)
    }

    #[test]
    fn faults_change_the_text() {
        let early = Action::TerminatedEarly {
            after_rows: 1,
            text: "terminated early".to_owned(),
        };
        let bad = Action::BadLine {
            at_row: 1,
            bytes: b"{".to_vec(),
        };
        for (fault, text, rows) in [
            (early, "first\nterminated early\n", 1),
            (
                Action::ErrorLine { after_rows: 0 },
                "{\"error\": \"query timed out\"}\n",
                0,
            ),
            (bad, "first\n{\nsecond\nthird!\n", 3),
            (Action::NoFinalNewline, "first\nsecond\nthird!", 3),
            (Action::Crlf, "first\r\nsecond\r\nthird!\r\n", 3),
            (Action::Bom, "\u{FEFF}first\nsecond\nthird!\n", 3),
            (Action::BlankLines, "first\n\nsecond\n\nthird!\n\n", 3),
            (Action::CutClean(CleanCut::Line), "first\nsecond\nthi", 2),
            (Action::DifferentOnRetry, "third!\nsecond\nfirst\n", 3),
        ] {
            assert_eq!(text_with(&fault), (text.to_owned(), rows), "{fault:?}");
        }
    }

    #[test]
    fn several_days_are_one_gzip_member() {
        let data = Data::sample();
        let all = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 3));
        let body = Cache::new(1).answer(&data, &all, Some(1)).unwrap();
        let mut decoder = GzDecoder::new(body.bytes.as_slice());
        let mut text = Vec::new();
        decoder.read_to_end(&mut text).unwrap();
        assert!(decoder.into_inner().is_empty());
        assert_eq!(text, joined(&all.select(&data).unwrap()));
        assert_eq!(
            body.rows,
            text.iter().filter(|&&byte| byte == b'\n').count()
        );
    }

    #[test]
    fn short_bodies_are_not_compressed() {
        let body = Cache::new(1).answer(&three(), &query(), Some(6)).unwrap();
        assert!(!body.is_gzip);
        assert_eq!(body.bytes.as_slice(), b"first\nsecond\nthird!\n");
    }

    #[test]
    fn the_cache_forgets_the_oldest() {
        let cache = Cache::new(2);
        let first = cache.entry("a".to_owned());
        cache.entry("b".to_owned());
        assert!(Arc::ptr_eq(&first, &cache.entry("a".to_owned())));
        cache.entry("c".to_owned());
        assert!(Arc::ptr_eq(&first, &cache.entry("a".to_owned())));
        assert_eq!(cache.lock().len(), 2);
    }
}
