//! The pages of a snapshot, and whether they are it.
//!
//! A page is asked for until it is whole, is the page that was asked for, and
//! has nobody who has come with another one.

use std::io::Read as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow::record_batch::RecordBatch;
use mixflow_core::context::{UnitContext, incomplete};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::reject::Reject;

use super::page::Page;
use super::people::People;
use crate::decode::{Decoder, Form};
use crate::http::body::receive;
use crate::http::client::{Client, Request};
use crate::http::retry::{Failure, Tries};
use crate::http::store::Retention;
use crate::http::tail::{BodyError, Content};
use crate::json::repair::repair;

/// A longer page is not one: pages have 1,000 profiles. It is read as a whole,
/// so the cap bounds the memory.
const MAX_PAGE: u64 = 256 << 20;

/// So many empty pages where profiles were announced are the end of the
/// snapshot, and so many answers that are other pages the end of the run: a
/// total of 10^8 would cost as many requests, and a cache that repeats itself
/// all the tries of each page.
const ENOUGH: u32 = 3;

/// The pages of one run.
pub(super) struct Pages {
    client: Client,
    fields: Vec<(&'static str, String)>,
    form: Form,
    people: Mutex<People>,
    /// Pages that were empty where profiles were announced.
    empty: AtomicU32,
    /// Pages that could not be had because other ones came.
    strays: AtomicU32,
}

/// Which page is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) number: u64,
    /// The snapshot's; without it a new snapshot begins.
    pub(super) session_id: Option<&'a str>,
    /// How many profiles it has, if the total is right.
    pub(super) announced: u64,
    /// The time of `behaviors`, the same for all pages of a snapshot.
    pub(super) as_of: Option<i64>,
}

/// How the last answer was another page than the one that was asked for.
#[derive(Clone, Copy)]
enum Other {
    /// It says so.
    Stray,
    /// Its people have come before.
    Repeated,
}

/// A page with the text that its profiles stand in.
pub(super) struct FetchedPage {
    text: String,
    pub(super) page: Page,
}

impl FetchedPage {
    /// Reads a page; an error says why this is none.
    fn read(bytes: Vec<u8>) -> Result<FetchedPage, String> {
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => repair(error.as_bytes()),
        };
        match Page::parse(&text) {
            Ok(page) => Ok(FetchedPage { text, page }),
            // A control character in a text costs no page.
            Err(reason) => {
                let text = repair(text.as_bytes());
                let page = Page::parse(&text).map_err(|_| reason)?;
                Ok(FetchedPage { text, page })
            }
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.page
            .results
            .as_ref()
            .map_or(0, |found| found.len() as u64)
    }

    /// Returns whether another page may follow. Without a page size only an
    /// empty page tells that none does.
    pub(super) fn is_full(&self) -> bool {
        self.count() >= self.page.page_size.unwrap_or(1)
    }
}

impl Pages {
    pub(super) fn new(client: Client, fields: Vec<(&'static str, String)>, form: Form) -> Pages {
        Pages {
            client,
            fields,
            form,
            people: Mutex::default(),
            empty: AtomicU32::new(0),
            strays: AtomicU32::new(0),
        }
    }

    /// Returns a decoder of its profiles.
    pub(super) fn decoder(&self) -> Decoder {
        Decoder::new(self.form.clone())
    }

    /// Returns what the pages are of, for errors.
    pub(super) fn what(&self) -> String {
        self.client.what()
    }

    /// Returns whether so many pages were empty that no other is to be asked
    /// for, whatever was announced.
    pub(super) fn has_ended(&self) -> bool {
        self.empty.load(Ordering::Relaxed) >= ENOUGH
    }

    /// Fetches a page until it is whole.
    ///
    /// One that has fewer profiles than were announced is asked for once more,
    /// and then taken for what it is.
    pub(super) fn fetch(&self, asked: &Asked<'_>, cx: &UnitContext) -> Result<FetchedPage> {
        let request = self.request(asked);
        let label = format!("page {}", asked.number);
        let retry = &self.client.retry;
        let mut may_be_short = retry.max_attempts <= 1;
        let mut other = None;
        let fetched = Tries::new(retry, cx, &label).run(|| {
            other = None;
            let page = self.attempt(&request, &label, cx)?;
            let (count, announced) = (page.count(), asked.announced);
            if count < announced && !std::mem::replace(&mut may_be_short, true) {
                return Err(self.cut(
                    &label,
                    format!("it has {count} profiles where {announced} were announced"),
                ));
            }
            let checked = self.check(asked.number, &page);
            checked.map_err(|(found, reason)| {
                other = Some(found);
                self.cut(&label, reason)
            })?;
            Ok(page)
        });
        let page = fetched.map_err(|error| self.judged(error, other, asked))?;
        if page.count() == 0 && asked.announced > 0 {
            self.empty.fetch_add(1, Ordering::Relaxed);
        }
        Ok(page)
    }

    fn request(&self, asked: &Asked<'_>) -> Request {
        let mut form = self.fields.clone();
        let as_of = asked.as_of.map(|seconds| seconds.to_string());
        form.extend(as_of.map(|seconds| ("as_of_timestamp", seconds)));
        if let Some(id) = asked.session_id {
            form.push(("session_id", id.to_owned()));
            form.push(("page", asked.number.to_string()));
        }
        Request {
            query: Vec::new(),
            form: Some(form),
            // Further pages of a session reportedly do not count.
            counts: asked.session_id.is_none(),
        }
    }

    /// Says what it means for the run that a page could not be had.
    fn judged(&self, error: Error, other: Option<Other>, asked: &Asked<'_>) -> Error {
        if asked.session_id.is_some() && has_expired(&error) {
            let number = asked.number;
            return error
                .context(format!(
                    "the session of the snapshot expired before page {number}"
                ))
                .hint("run it again; with more workers it takes less time")
                .voids_plan();
        }
        match other {
            // Which of two pages with the same people is the wrong one, nobody
            // can tell: neither is to be kept.
            Some(Other::Repeated) => error.voids_plan(),
            Some(Other::Stray) if self.strays.fetch_add(1, Ordering::Relaxed) + 1 >= ENOUGH => {
                error.fatal()
            }
            _ => error,
        }
    }

    /// Fails if the answer says that it is another page, or if somebody has come
    /// with another page, or comes twice.
    fn check(&self, number: u64, page: &FetchedPage) -> Result<(), (Other, String)> {
        if let Some(found) = page.page.number
            && found != number
        {
            let reason =
                format!("the answer is page {found}; a cache in between may repeat itself");
            return Err((Other::Stray, reason));
        }
        let ids = page.page.people(&page.text);
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        match people.admit(&ids) {
            0 => Ok(()),
            n => Err((
                Other::Repeated,
                format!(
                    "{n} of its {} profiles have come before; a cache in between may repeat itself",
                    page.count()
                ),
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
        let bytes = self.bytes(request, label, cx)?;
        let page = FetchedPage::read(bytes).map_err(|reason| self.cut(label, reason))?;
        if let Some(said) = &page.page.error {
            let what = self.what();
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
        if page.page.results.is_none() {
            return Err(self.cut(label, "it has no `results`".to_owned()));
        }
        Ok(page)
    }

    /// Makes a request and returns its answer when that is whole.
    fn bytes(&self, request: &Request, label: &str, cx: &UnitContext) -> Result<Vec<u8>, Failure> {
        let mut answer = self.client.send(request, label, cx)?;
        let count = |bytes| cx.count_bytes(bytes);
        let kept = receive(
            &mut answer.wire,
            Content::Page,
            Retention::ThisRun(None),
            count,
        );
        let body = kept.map_err(|broken| match broken {
            BodyError::Truncated(reason) | BodyError::Malformed(reason) => self.cut(label, reason),
            BodyError::Io(error) => unspooled(error).into(),
        })?;
        let mut bytes = Vec::new();
        body.into_reader()
            .and_then(|reader| reader.take(MAX_PAGE + 1).read_to_end(&mut bytes))
            .map_err(unspooled)?;
        if bytes.len() as u64 > MAX_PAGE {
            let what = self.what();
            let error = Error::new(ErrorKind::Data, format!("{label} of {what} is no page"));
            return Err(error.because("it is longer than 256 MB").into());
        }
        Ok(bytes)
    }

    /// Decodes a page's profiles. A bad one is a reject and costs no page.
    pub(super) fn decode(
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
