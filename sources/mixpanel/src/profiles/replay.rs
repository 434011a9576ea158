//! Profiles out of the archive: the pages of a snapshot that an earlier run has
//! kept.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;

use arrow::record_batch::RecordBatch;
use jiff::Timestamp;
use mixflow_core::context::{UnitContext, incomplete};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::source::{BatchIter, Dataset, Plan, Session, Unit};
use mixflow_source_archive::{Archive, Kept};

use super::fetched::{FetchedPage, MAX_PAGE};
use super::snapshot::Snapshot;
use super::units::PageRequest;
use crate::decode::{Decoder, Form};
use crate::http::encoding::{Encoding, decoded};

/// The profiles of one run, from the archive.
pub(super) struct ReplaySession {
    archive: Archive,
    dataset: Dataset,
    form: Form,
    snapshot: Snapshot,
    pages: BTreeMap<u64, Kept>,
}

/// A snapshot as far as it is kept.
struct KeptSnapshot {
    snapshot: Snapshot,
    fetched_at: Timestamp,
    pages: BTreeMap<u64, Kept>,
}

impl KeptSnapshot {
    /// Returns whether each page that was planned is kept, but for one that the
    /// server may have said is not there.
    fn is_whole(&self) -> bool {
        let mut pages = 0..self.snapshot.pages;
        pages.all(|n| self.pages.contains_key(&n) || self.snapshot.may_lack(n))
    }

    fn is_refused(&self) -> bool {
        self.pages.values().any(Kept::is_refused)
    }
}

impl ReplaySession {
    /// Looks up the newest snapshot that is whole, or else the newest one.
    ///
    /// Fails when there is none, or the archive cannot be read. `what` says which
    /// data it is.
    pub(super) fn open(
        dataset: &Dataset,
        form: &Form,
        archive: &Archive,
        what: &str,
    ) -> Result<ReplaySession> {
        let mut snapshots = snapshots(dataset, archive)?;
        snapshots.sort_by_key(|found| (found.is_whole(), !found.is_refused(), found.fetched_at));
        let newest = snapshots.pop().ok_or_else(|| {
            let path = archive.path().display();
            incomplete(format!("there is nothing to replay of {what}"))
                .because(format!("the archive `{path}` has no snapshot of them"))
        })?;
        Ok(ReplaySession {
            archive: archive.clone(),
            dataset: dataset.clone(),
            form: form.clone(),
            snapshot: newest.snapshot,
            pages: newest.pages,
        })
    }

    /// Reads a page that is kept; `None` if it is not.
    fn page(&self, n: u64, cx: &UnitContext) -> Result<Option<FetchedPage>> {
        let Some(kept) = self.pages.get(&n) else {
            return Ok(None);
        };
        let file = kept.open(&cx.cancel)?;
        let mut bytes = Vec::new();
        let body = decoded(Box::new(file), Encoding::Gzip);
        let unread = |reason: String| {
            let message = format!("`{}` is no page of profiles", kept.path.display());
            Error::new(ErrorKind::Data, message).because(reason)
        };
        let read = body.take(MAX_PAGE).read_to_end(&mut bytes);
        read.map_err(|error| unread(error.to_string()))?;
        cx.note_body(kept.body_facts());
        FetchedPage::read(bytes).map(Some).map_err(unread)
    }
}

/// Returns what is kept of each snapshot of a dataset.
///
/// A page of which nothing is known any more is as good as one that is not there:
/// which snapshot it was of, its name does not tell.
fn snapshots(dataset: &Dataset, archive: &Archive) -> Result<Vec<KeptSnapshot>> {
    let key = dataset.key();
    let mut all: Vec<KeptSnapshot> = Vec::new();
    for kept in archive.kept(dataset)? {
        let note = kept.note.as_ref().ok();
        let note = note.filter(|note| note.dataset.key() == key);
        let Some(PageRequest { page, snapshot }) =
            note.and_then(|note| PageRequest::of(&note.unit))
        else {
            continue;
        };
        // Page 0 opens a session, and with it a snapshot.
        let mut newest_first = all.iter_mut().rev();
        let same = newest_first.find(|found| page > 0 && found.snapshot == snapshot);
        match same {
            Some(found) => drop(found.pages.insert(page, kept)),
            None => all.push(KeptSnapshot {
                snapshot,
                fetched_at: kept.fetched_at(),
                pages: BTreeMap::from([(page, kept)]),
            }),
        }
    }
    Ok(all)
}

impl Session for ReplaySession {
    fn plan(&self) -> Result<Plan> {
        let key = self.dataset.key();
        let pages = 0..self.snapshot.pages;
        Ok(Plan {
            units: pages.map(|n| self.snapshot.unit(&key, n)).collect(),
            ordered: true,
            expected_rows: self.snapshot.total,
            ..Plan::default()
        })
    }

    fn read<'a>(&'a self, unit: &'a Unit, cx: &'a UnitContext) -> Result<BatchIter<'a>> {
        let PageRequest { page, .. } = PageRequest::read(unit)?;
        let mut rows = KeptRows {
            session: self,
            cx,
            decoder: Decoder::new(self.form.clone()),
            batches: VecDeque::new(),
            next: None,
        };
        if !rows.read(page)? && !self.snapshot.may_lack(page) {
            let path = self.archive.path().display();
            return Err(incomplete(format!(
                "the archive `{path}` has no {}",
                unit.label
            )));
        }
        Ok(Box::new(rows))
    }
}

/// The batches of a page and, if it is the last that was announced, of those
/// that came after it.
struct KeptRows<'a> {
    session: &'a ReplaySession,
    cx: &'a UnitContext,
    decoder: Decoder,
    batches: VecDeque<RecordBatch>,
    next: Option<u64>,
}

impl KeptRows<'_> {
    /// Reads a page; returns whether it is kept.
    fn read(&mut self, n: u64) -> Result<bool> {
        let Some(page) = self.session.page(n, self.cx)? else {
            return Ok(false);
        };
        let label = format!("page {n}");
        self.batches
            .extend(page.decode(&label, &mut self.decoder, self.cx)?);
        let snapshot = &self.session.snapshot;
        if snapshot.may_go_on_after(n, &page) {
            self.next = Some(n + 1);
        }
        Ok(true)
    }

    /// Reads a page that nobody announced, but that the one before it lets
    /// expect.
    fn read_further(&mut self, n: u64) -> Result<()> {
        if self.read(n)? || self.session.snapshot.may_lack(n) {
            return Ok(());
        }
        let path = self.session.archive.path().display();
        Err(incomplete(format!("the archive `{path}` has no page {n}")))
    }
}

impl Iterator for KeptRows<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            if let Some(batch) = self.batches.pop_front() {
                return Some(Ok(batch));
            }
            let n = self.next.take()?;
            if let Err(error) = self.read_further(n) {
                return Some(Err(error));
            }
        }
    }
}
