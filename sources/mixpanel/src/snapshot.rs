//! The snapshot that pages of profiles belong to, and whether they are it.
//!
//! A page is asked for until it is whole, is the page that was asked for, and
//! has nobody who has come with another one.

use std::collections::HashSet;
use std::io::Read as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow::record_batch::RecordBatch;
use mixflow_core::context::{UnitContext, incomplete};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::reject::Reject;

use crate::decode::{Decoder, Form};
use crate::http::body::{Broken, Content, Keep, keep};
use crate::http::client::{Client, Request};
use crate::http::retry::{Failure, Tries};
use crate::json::repair::repair;
use crate::page::Page;

/// A longer page is not one: pages have 1,000 profiles. It is read as a whole,
/// so the cap bounds the memory.
const MAX_PAGE: u64 = 256 << 20;

/// So many empty pages where profiles were announced are the end of the
/// snapshot, and so many answers that are other pages the end of the run: a
/// total of 10^8 would cost as many requests, and a cache that repeats itself
/// all the tries of each page.
const ENOUGH: u32 = 3;

/// The snapshot that the pages belong to.
pub(crate) struct SnapshotPages {
    pub(crate) client: Client,
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) form: Form,
    people: Mutex<People>,
    /// Pages that were empty where profiles were announced.
    empty: AtomicU32,
    /// Pages that could not be had because other ones came.
    strays: AtomicU32,
}

/// A page with the text that its profiles stand in.
pub(crate) struct FetchedPage {
    text: String,
    pub(crate) page: Page,
}

impl FetchedPage {
    pub(crate) fn count(&self) -> u64 {
        self.page
            .results
            .as_ref()
            .map_or(0, |found| found.len() as u64)
    }

    /// Returns whether another page may follow. Without a page size only an
    /// empty page tells that none does.
    pub(crate) fn is_full(&self) -> bool {
        self.count() >= self.page.page_size.unwrap_or(1)
    }
}

impl SnapshotPages {
    pub(crate) fn new(
        client: Client,
        fields: Vec<(&'static str, String)>,
        form: Form,
    ) -> SnapshotPages {
        SnapshotPages {
            client,
            fields,
            form,
            people: Mutex::default(),
            empty: AtomicU32::new(0),
            strays: AtomicU32::new(0),
        }
    }

    /// Returns whether so many pages were empty that no other is to be asked
    /// for, whatever was announced.
    pub(crate) fn has_ended(&self) -> bool {
        self.empty.load(Ordering::Relaxed) >= ENOUGH
    }

    /// Fetches a page until it is whole.
    ///
    /// One that has fewer than `announced` profiles is asked for once more,
    /// and then taken for what it is.
    pub(crate) fn fetch(
        &self,
        n: u64,
        session_id: Option<&str>,
        announced: u64,
        cx: &UnitContext,
    ) -> Result<FetchedPage> {
        let mut form = self.fields.clone();
        if let Some(id) = session_id {
            form.push(("session_id", id.to_owned()));
            form.push(("page", n.to_string()));
        }
        let request = Request {
            query: Vec::new(),
            form: Some(form),
            // Further pages of a session reportedly do not count.
            counts: session_id.is_none(),
        };
        let label = format!("page {n}");
        let mut again = self.client.retry.max_attempts > 1;
        let (mut stray, mut repeated) = (false, false);
        let fetched = Tries::new(&self.client.retry, cx, &label).run(|| {
            (stray, repeated) = (false, false);
            let page = self.attempt(&request, &label, cx)?;
            if page.count() < announced && std::mem::take(&mut again) {
                let count = page.count();
                return Err(self.cut(
                    &label,
                    format!("it has {count} profiles where {announced} were announced"),
                ));
            }
            let is_page = self.is_page(n, &page);
            stray = is_page.is_err();
            is_page.map_err(|reason| self.cut(&label, reason))?;
            let admitted = self.admit(&page);
            repeated = admitted.is_err();
            admitted.map_err(|reason| self.cut(&label, reason))?;
            Ok(page)
        });
        match fetched {
            Ok(page) => {
                if page.count() == 0 && announced > 0 {
                    self.empty.fetch_add(1, Ordering::Relaxed);
                }
                Ok(page)
            }
            Err(error) if session_id.is_some() && has_expired(&error) => Err(error
                .context(format!(
                    "the session of the snapshot expired before {label}"
                ))
                .hint("run it again; with more workers it takes less time")
                .voids_plan()),
            // Which of two pages with the same people is the wrong one, nobody
            // can tell: neither is to be kept.
            Err(error) if repeated => Err(error.voids_plan()),
            Err(error) if stray && self.strays.fetch_add(1, Ordering::Relaxed) + 1 >= ENOUGH => {
                Err(error.fatal())
            }
            Err(error) => Err(error),
        }
    }

    /// Fails if the answer says that it is another page.
    fn is_page(&self, n: u64, page: &FetchedPage) -> Result<(), String> {
        match page.page.number {
            Some(number) if number != n => Err(format!(
                "the answer is page {number}; a cache in between may repeat itself"
            )),
            _ => Ok(()),
        }
    }

    /// Fails if somebody has come with another page, or comes twice.
    fn admit(&self, page: &FetchedPage) -> Result<(), String> {
        let ids = page.page.people(&page.text);
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        match people.admit(&ids) {
            0 => Ok(()),
            n => Err(format!(
                "{n} of its {} profiles have come before; a cache in between may repeat itself",
                page.count()
            )),
        }
    }

    fn cut(&self, label: &str, reason: String) -> Failure {
        let what = self.client.what();
        Failure::again(incomplete(format!("{label} of {what} is incomplete")).because(reason))
    }

    fn attempt(
        &self,
        request: &Request,
        label: &str,
        cx: &UnitContext,
    ) -> Result<FetchedPage, Failure> {
        let cut = |reason: String| self.cut(label, reason);
        let mut answer = self.client.send(request, label, cx)?;
        let count = |bytes| cx.count_bytes(bytes);
        let kept = keep(&mut answer.wire, Content::Page, Keep::ForNow(None), count);
        let body = kept.map_err(|broken| match broken {
            Broken::Cut(reason) | Broken::Refused(reason) => cut(reason),
            Broken::Spool(error) => unspooled(error).into(),
        })?;
        let mut bytes = Vec::new();
        body.into_reader()
            .and_then(|reader| reader.take(MAX_PAGE + 1).read_to_end(&mut bytes))
            .map_err(unspooled)?;
        if bytes.len() as u64 > MAX_PAGE {
            let what = self.client.what();
            return Err(
                Error::new(ErrorKind::Data, format!("{label} of {what} is no page"))
                    .because("it is longer than 256 MB")
                    .into(),
            );
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => repair(error.as_bytes()),
        };
        let (text, page) = match Page::parse(&text) {
            Ok(page) => (text, page),
            // A control character in a text costs no page.
            Err(reason) => {
                let repaired = repair(text.as_bytes());
                let page = Page::parse(&repaired).map_err(|_| cut(reason))?;
                (repaired, page)
            }
        };
        if let Some(said) = &page.error {
            let what = self.client.what();
            let error = incomplete(format!("cannot read {label} of {what}")).because(format!(
                "the server answered 200 with an error: {}",
                self.client.shown(said.as_bytes())
            ));
            return Err(if has_expired(&error) {
                Failure::Final(error)
            } else {
                Failure::again(error)
            });
        }
        if page.results.is_none() {
            return Err(cut("it has no `results`".to_owned()));
        }
        Ok(FetchedPage { text, page })
    }

    /// Decodes a page's profiles. A bad one is a reject and costs no page.
    pub(crate) fn decode(
        &self,
        page: &FetchedPage,
        label: &str,
        decoder: &mut Decoder,
        batches: &mut Vec<RecordBatch>,
        cx: &UnitContext,
    ) -> Result<()> {
        for (n, span) in page.page.results.iter().flatten().enumerate() {
            let record = page.text[span.clone()].as_bytes();
            if let Err(reason) = decoder.push(record) {
                cx.reject(&Reject {
                    partition: label,
                    line: n as u64 + 1,
                    reason: &reason,
                    record,
                })?;
            }
            if decoder.is_full() {
                batches.extend(decoder.take());
            }
        }
        batches.extend(decoder.take());
        Ok(())
    }
}

/// Whether the server has forgotten the session, so that the snapshot cannot
/// be continued: `request for page in uncached query for params`.
fn has_expired(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Request | ErrorKind::Incomplete)
        && error
            .causes()
            .iter()
            .any(|cause| cause.contains("uncached query"))
}

fn unspooled(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot keep a page on disk").with_source(error)
}

/// Who has come with the pages so far: hashes of their ids as they were written.
#[derive(Default)]
struct People {
    seen: HashSet<u64>,
}

impl People {
    /// So many are remembered, in some 70 MB; beyond, the first of each page,
    /// by which a page that is repeated is known all the same.
    const MOST: usize = 3_500_000;

    /// Remembers the people of a page, or none of them and returns how many
    /// have come before.
    fn admit(&mut self, ids: &[u64]) -> usize {
        let room = if self.seen.len() < People::MOST {
            ids.len()
        } else {
            ids.len().min(1)
        };
        let mut repeated = 0;
        let mut new = Vec::with_capacity(room);
        for (n, id) in ids.iter().enumerate() {
            if self.seen.contains(id) {
                repeated += 1;
            } else if n < room {
                self.seen.insert(*id);
                new.push(*id);
            }
        }
        if repeated > 0 {
            for id in new {
                self.seen.remove(&id);
            }
        }
        repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_twice_is_found_and_the_page_can_be_asked_for_again() {
        let mut people = People::default();
        assert_eq!(people.admit(&[1, 2]), 0);
        assert_eq!(people.admit(&[3, 2, 1]), 2);
        assert_eq!(people.admit(&[3, 4]), 0);
        assert_eq!(people.admit(&[5, 5]), 1);
        assert_eq!(people.admit(&[]), 0);
    }

    #[test]
    fn a_page_that_is_repeated_is_found_among_any_number() {
        let mut people = People::default();
        let pages = People::MOST as u64 / 1000 + 10;
        let page = |n: u64| (n * 1000..(n + 1) * 1000).collect::<Vec<_>>();
        for n in 0..pages {
            assert_eq!(people.admit(&page(n)), 0);
        }
        assert!(people.seen.len() < People::MOST + 1000);
        assert!(people.admit(&page(pages - 1)) > 0);
        assert_eq!(people.admit(&page(0)), 1000);
    }
}
