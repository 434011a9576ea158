//! The pages of a snapshot, and whether they are it.
//!
//! A page is asked for until it is whole, is the page that was asked for, and
//! has nobody who has come with another one.

use std::io::Read as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mixflow_core::context::{RunContext, UnitContext, incomplete};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::source::Fate;
use mixflow_core::unit::DatasetKey;
use serde_json::Value;

use super::asked::Asked;
use super::early::{EarlyPages, listen};
use super::fetched::{FetchedPage, MAX_PAGE};
use super::page::Opening;
use super::people::People;
use super::snapshot::Snapshot;
use crate::decode::{Decoder, Form};
use crate::http::body::{Body, receive};
use crate::http::client::{Client, Request};
use crate::http::retry::{Failure, Tries};
use crate::http::store::Retention;
use crate::http::tail::{BodyError, Content};
use crate::keeper::Keeper;

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
    /// Where pages are kept for good.
    keeper: Option<Keeper>,
    dataset: DatasetKey,
    people: Mutex<People>,
    early: EarlyPages,
    empty: EmptyPages,
    /// Pages that could not be had because other ones came.
    strays: AtomicU32,
}

/// Pages that were empty where profiles were announced.
///
/// Workers are through with pages in any order. Those that come after a page say
/// nothing of it: its worker may be the slowest, and it the last one with profiles.
#[derive(Debug, Default)]
struct EmptyPages(Mutex<Vec<u64>>);

impl EmptyPages {
    fn note(&self, n: u64) {
        self.lock().push(n);
    }

    fn are_enough_before(&self, n: u64) -> bool {
        self.lock().iter().filter(|page| **page < n).count() >= ENOUGH as usize
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears the opening of an answer.
type OnOpening = Box<dyn FnOnce(Opening) + Send>;

/// How the last answer was another page than the one that was asked for.
#[derive(Clone, Copy)]
enum Other {
    /// It says so.
    Stray,
    /// Its people have come before.
    Repeated,
}

impl Pages {
    pub(super) fn new(
        client: Client,
        fields: Vec<(&'static str, String)>,
        form: Form,
        keeper: Option<Keeper>,
        dataset: DatasetKey,
    ) -> Pages {
        Pages {
            client,
            fields,
            form,
            keeper,
            dataset,
            people: Mutex::default(),
            early: EarlyPages::default(),
            empty: EmptyPages::default(),
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

    /// Keeps page `n` of a snapshot, if pages are kept.
    pub(super) fn keep(&self, snapshot: &Snapshot, n: u64, page: &mut FetchedPage) -> Result<()> {
        match (&self.keeper, page.body.take()) {
            (Some(keeper), Some(mut body)) => {
                keeper.keep(&snapshot.unit(&self.dataset, n), Value::Null, &mut body)
            }
            _ => Ok(()),
        }
    }

    /// Hears what became of the rows.
    pub(super) fn finish(&self, fate: Fate) {
        if let Some(keeper) = &self.keeper {
            keeper.finish(fate);
        }
    }

    /// Returns whether so many pages before page `n` were empty that it is not to be
    /// asked for, whatever was announced.
    pub(super) fn has_ended_before(&self, n: u64) -> bool {
        self.empty.are_enough_before(n)
    }

    /// Fetches a page until it is whole.
    ///
    /// One that has fewer profiles than were announced is asked for once more,
    /// and then taken for what it is.
    pub(super) fn fetch(&self, asked: &Asked<'_>, cx: &UnitContext) -> Result<FetchedPage> {
        self.fetch_by(asked, cx, |request, label| {
            let id = asked.session_id;
            let early = id.and_then(|id| self.early.take(asked.number, id, cx));
            early.unwrap_or_else(|| self.attempt(request, label, cx, None))
        })
    }

    /// Fetches page 0, which begins a session, and asks for up to `beside` pages
    /// of that session as soon as its answer says how.
    pub(super) fn fetch_first(
        self: &Arc<Self>,
        as_of: Option<i64>,
        beside: usize,
        cx: &RunContext,
    ) -> Result<FetchedPage> {
        let asked = Asked {
            number: 0,
            session_id: None,
            announced: 0,
            as_of,
        };
        let unit = cx.unit();
        self.fetch_by(&asked, &unit, |request, label| {
            if let Some(id) = self.early.resume() {
                let asked = Asked {
                    session_id: Some(&id),
                    ..asked
                };
                let again = self.attempt(&self.request(&asked), label, &unit, None);
                // A new session is the next thing to try.
                return again.map_err(|failure| match failure {
                    Failure::Final(error) => Failure::again(error),
                    failure => failure,
                });
            }
            let (pages, cx) = (Arc::clone(self), cx.clone());
            let begin = move |opening: Opening| pages.begin_early(&opening, as_of, beside, &cx);
            self.attempt(request, label, &unit, Some(Box::new(begin)))
        })
    }

    fn begin_early(
        self: &Arc<Self>,
        opening: &Opening,
        as_of: Option<i64>,
        beside: usize,
        cx: &RunContext,
    ) {
        let announced = opening.total.div_ceil(opening.page_size);
        if announced < 2 || beside == 0 || !self.early.begin(&opening.session_id) {
            return;
        }
        for n in (1..announced).take(beside) {
            let request = self.request(&Asked {
                number: n,
                session_id: Some(&opening.session_id),
                announced: 0,
                as_of,
            });
            let (pages, cx) = (Arc::clone(self), cx.unit());
            self.early.ask(n, &opening.session_id, move || {
                pages.attempt(&request, &format!("page {n}"), &cx, None)
            });
        }
    }

    fn fetch_by(
        &self,
        asked: &Asked<'_>,
        cx: &UnitContext,
        mut attempt: impl FnMut(&Request, &str) -> Result<FetchedPage, Failure>,
    ) -> Result<FetchedPage> {
        let request = self.request(asked);
        let label = format!("page {}", asked.number);
        let retry = &self.client.retry;
        let mut may_be_short = retry.max_attempts <= 1;
        let (mut other, mut people) = (None, Vec::new());
        let fetched = Tries::new(retry, cx, &label).run(|| {
            other = None;
            let page = attempt(&request, &label)?;
            let (count, announced) = (page.count(), asked.announced);
            if count < announced && !std::mem::replace(&mut may_be_short, true) {
                return Err(self.cut(
                    &label,
                    format!("it has {count} profiles where {announced} were announced"),
                ));
            }
            let checked = self.check(asked.number, &page);
            people = checked.map_err(|(found, reason)| {
                other = Some(found);
                self.cut(&label, reason)
            })?;
            Ok(page)
        });
        let page = fetched.map_err(|error| self.judged(error, other, asked))?;
        cx.note_ids(people);
        if page.count() == 0 && asked.announced > 0 {
            self.empty.note(asked.number);
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

    /// Returns the people of a page. Fails if the answer says that it is another page,
    /// or if somebody has come with another page, or comes twice.
    fn check(&self, number: u64, page: &FetchedPage) -> Result<Vec<u64>, (Other, String)> {
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
            0 => Ok(ids),
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
        on_opening: Option<OnOpening>,
    ) -> Result<FetchedPage, Failure> {
        let mut body = self.body(request, label, cx, on_opening)?;
        let bytes = self.bytes(&mut body, label)?;
        let mut page = FetchedPage::read(bytes).map_err(|reason| self.cut(label, reason))?;
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
        page.body = Some(body);
        Ok(page)
    }

    /// Makes a request and returns its answer when that has come to its end.
    fn body(
        &self,
        request: &Request,
        label: &str,
        cx: &UnitContext,
        on_opening: Option<OnOpening>,
    ) -> Result<Body, Failure> {
        let mut answer = self.client.send(request, label, cx)?;
        if let Some(tell) = on_opening {
            listen(&mut answer.wire, tell);
        }
        let count = |bytes| cx.count_bytes(bytes);
        let kept = receive(
            &mut answer.wire,
            Content::Page,
            Retention::ThisRun(None),
            Keeper::hashed(self.keeper.as_ref()),
            count,
        );
        kept.map_err(|broken| match broken {
            BodyError::Truncated(reason) | BodyError::Malformed(reason) => self.cut(label, reason),
            BodyError::Io(error) => unspooled(error).into(),
        })
    }

    fn bytes(&self, body: &mut Body, label: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        body.reader()
            .and_then(|reader| reader.take(MAX_PAGE + 1).read_to_end(&mut bytes))
            .map_err(unspooled)?;
        if bytes.len() as u64 > MAX_PAGE {
            let what = self.what();
            let error = Error::new(ErrorKind::Data, format!("{label} of {what} is no page"));
            return Err(error.because("it is longer than 256 MB"));
        }
        Ok(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_after_one_say_nothing_of_it() {
        let empty = EmptyPages::default();
        for page in [9, 7, 8] {
            empty.note(page);
        }
        // Page 6 has not been read yet.
        for (page, ended) in [(6, false), (7, false), (9, false), (10, true), (11, true)] {
            assert_eq!(empty.are_enough_before(page), ended, "page {page}");
        }
    }
}
