//! `mixpanel_profiles`: pages of the engage endpoint.
//!
//! Page 0 opens a session, which is a snapshot; its answer says how many pages
//! follow. These are asked for with the session and all the filters again.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use mixflow_core::config::{Env, Invalid};
use mixflow_core::context::{Notice, RunContext, UnitContext, incomplete};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::registry::BuildContext;
use mixflow_core::sink::RecordFormat;
use mixflow_core::source::{
    BatchIter, DataKind, Dataset, Extent, Outline, Plan, Session, Source, SourceInfo, Unit,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::decode::{Decoder, Form};
use crate::filters::filters;
use crate::http::client::Client;
use crate::http::quota::{Limits, Quota, Shared};
use crate::http::retry::RetryOptions;
use crate::options::{Auth, Endpoint, EndpointKind, MAX_REJECTS, ProfilesOptions, check_limits};
use crate::schema;
use crate::snapshot::{FetchedPage, SnapshotPages};

/// The page size that Mixpanel documents, for a snapshot that does not tell.
const PAGE_SIZE: u64 = 1000;

/// The most pages of a snapshot: 100 million profiles. More are an answer that
/// is wrong, and each page of a plan takes some 500 bytes.
const MOST_PAGES: u64 = 100_000;

/// Profiles of a project, by page.
#[derive(Clone, Debug)]
pub struct ProfilesSource {
    endpoint: Endpoint,
    auth: Auth,
    env: Env,
    form: Form,
    form_fields: Vec<(&'static str, String)>,
    filters: serde_json::Map<String, Value>,
    retry: RetryOptions,
    limits: Limits,
    accept_short: bool,
    max_rejects: u64,
    state: Option<PathBuf>,
    warnings: Vec<String>,
}

impl ProfilesSource {
    /// Checks the options. Makes no I/O.
    pub fn new(
        options: ProfilesOptions,
        cx: &BuildContext,
    ) -> Result<ProfilesSource, Vec<Invalid>> {
        let mut invalid = Vec::new();
        let mut warnings = Vec::new();
        let filters = filters(&options, cx.now, &mut invalid);
        check_limits(&options.retry, options.limits, &mut invalid);
        let auth = Auth::new(
            options.auth,
            options.project_id.is_some(),
            cx,
            &mut invalid,
            &mut warnings,
        );
        let endpoint = Endpoint::new(
            EndpointKind::Engage,
            options.region.unwrap_or_default(),
            options.base_url,
            options.project_id,
            &mut invalid,
        );
        let (Some(auth), true) = (auth, invalid.is_empty()) else {
            return Err(invalid);
        };
        Ok(ProfilesSource {
            endpoint,
            auth,
            env: cx.env.clone(),
            form: match cx.records {
                RecordFormat::Raw => Form::Raw,
                RecordFormat::Normalized => Form::Profiles,
            },
            form_fields: filters.fields,
            filters: filters.shown,
            retry: options.retry,
            limits: Limits::ENGAGE.with(options.limits),
            accept_short: options.accept_short.unwrap_or(false),
            max_rejects: options.max_rejects.unwrap_or(MAX_REJECTS),
            state: cx.state.clone(),
            warnings,
        })
    }

    fn dataset(&self) -> Dataset {
        Dataset {
            project: self.endpoint.project_id.clone().unwrap_or_default(),
            kind: DataKind::Profiles,
            zone: "UTC".to_owned(),
            filters: self.filters.clone(),
        }
    }

    fn quota(&self) -> Quota {
        let shared = self.state.as_ref().map(|state| Shared {
            state: state.clone(),
            endpoint: self.endpoint.quota_name(),
        });
        Quota::new(self.limits, shared.as_ref())
    }

    fn quota_warning(&self, pages: u64) -> Option<String> {
        let hourly = u64::from(self.quota().per_hour());
        (pages * 5 >= hourly * 4).then(|| {
            format!(
                "{pages} pages are {} % of the {hourly} requests that Mixpanel allows in an hour; the run may have to wait for quota",
                pages * 100 / hourly
            )
        })
    }
}

impl Source for ProfilesSource {
    fn schema(&self) -> SchemaRef {
        match self.form {
            Form::Raw => schema::raw(),
            _ => schema::profiles(),
        }
    }

    fn info(&self) -> SourceInfo {
        SourceInfo {
            dataset: self.dataset(),
            title: self.endpoint.what(),
            warnings: self.warnings.clone(),
            ..SourceInfo::default()
        }
    }

    fn outline(&self) -> Outline {
        Outline {
            units: Vec::new(),
            requests: None,
            requests_per_hour: Some(self.quota().per_hour()),
            used_in_last_hour: Some(self.quota().used()),
            max_workers: NonZeroUsize::new(self.limits.concurrent as usize),
            notes: vec!["the first page tells how many follow, of 1,000 profiles each".to_owned()],
        }
    }

    fn open(&self, cx: &RunContext) -> Result<Box<dyn Session>> {
        let credentials = self.auth.resolve(&self.env, &cx.cancel)?;
        let client = Client::new(
            self.endpoint.clone(),
            &credentials,
            self.retry.clone(),
            self.quota(),
            &self.env,
            &cx.cancel,
        )?;
        Ok(Box::new(ProfilesSession {
            source: self.clone(),
            pages: SnapshotPages::new(client, self.form_fields.clone(), self.form.clone()),
            first: Mutex::default(),
            cx: cx.clone(),
        }))
    }

    fn accepts_short(&self) -> bool {
        self.accept_short
    }

    fn max_rejects(&self) -> u64 {
        self.max_rejects
    }
}

/// What page 0 tells of the pages that follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Snapshot {
    id: Option<String>,
    total: Option<u64>,
    size: u64,
    /// The pages that the total stands for.
    announced: u64,
    /// The pages that are asked for, page 0 included; after the last of them
    /// more may follow.
    pages: u64,
    /// Whether only an empty page ends it: pages are smaller than was said.
    until_empty: bool,
}

impl Snapshot {
    fn of(first: &FetchedPage, accept_short: bool) -> Result<Snapshot> {
        let count = first.count();
        let mut total = first.page.total;
        let size = match first.page.page_size {
            Some(size) => size,
            None if count > 0 => count,
            None => PAGE_SIZE,
        };
        let mut announced = total.map_or(0, |total| total.div_ceil(size).max(1));
        if announced > MOST_PAGES && accept_short {
            (total, announced) = (None, 0);
        }
        if announced > MOST_PAGES {
            return Err(incomplete(format!(
                "{} profiles were announced, which are {announced} pages; at most {MOST_PAGES} can be read",
                total.unwrap_or_default()
            ))
            .hint("narrow them by `where`, or set `accept_short = true` if the total is known to be wrong"));
        }
        let until_empty = count < size && total.is_some_and(|total| total > count);
        // A full page may be followed by another one, whatever the total says.
        let mut pages = announced.max(1 + u64::from(first.is_full() || until_empty));
        let id = first.page.session_id.clone();
        if pages > 1 && id.is_none() {
            if total != Some(count) {
                return Err(incomplete(
                    "page 0 has no `session_id`, without which page 1 cannot be asked for",
                ));
            }
            pages = 1;
        }
        Ok(Snapshot {
            id,
            total,
            size,
            announced,
            pages,
            until_empty,
        })
    }

    fn warning(&self, first: &FetchedPage) -> Option<String> {
        let (count, size, pages) = (first.count(), self.size, self.announced);
        (pages > 1 && count < size).then(|| {
            format!("page 0 has {count} of {size} profiles although {pages} pages were announced")
        })
    }

    /// Returns how many profiles page `n` has if the total is right.
    fn announced_on(&self, n: u64) -> u64 {
        let before = n.saturating_mul(self.size);
        self.total
            .map_or(0, |total| total.saturating_sub(before).min(self.size))
    }

    /// Returns whether a server may say that there is no page `n`: it is the
    /// first one after a total that the pages before it fill.
    fn may_lack(&self, n: u64) -> bool {
        n == self.announced && self.total.is_some() && self.total == n.checked_mul(self.size)
    }
}

/// What tells a page from all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PageRequest {
    page: u64,
    snapshot: Snapshot,
}

/// The profiles of one run.
struct ProfilesSession {
    source: ProfilesSource,
    pages: SnapshotPages,
    /// Page 0, once `plan` has fetched it and until it is read.
    first: Mutex<Option<FetchedPage>>,
    cx: RunContext,
}

impl Session for ProfilesSession {
    /// Asks for page 0, and splits by what it says.
    fn plan(&self) -> Result<Plan> {
        let (source, pages) = (&self.source, &self.pages);
        let first = pages.fetch(0, None, 0, &self.cx.unit())?;
        let snapshot = Snapshot::of(&first, source.accept_short)
            .map_err(|error| error.context(format!("{} are incomplete", pages.client.what())))?;
        let mut warnings: Vec<String> = source.quota_warning(snapshot.pages).into_iter().collect();
        warnings.extend(snapshot.warning(&first));
        *self.first() = Some(first);
        let dataset = source.dataset();
        let unit = |page| {
            let snapshot = snapshot.clone();
            let request = json!(PageRequest { page, snapshot });
            Unit::new(
                &dataset,
                Extent::Page(page),
                format!("page {page}"),
                request,
            )
        };
        Ok(Plan {
            units: (0..snapshot.pages).map(unit).collect(),
            max_workers: NonZeroUsize::new(source.limits.concurrent as usize),
            ordered: true,
            expected_rows: snapshot.total,
            requests: snapshot.pages,
            warnings,
        })
    }

    fn read<'a>(&'a self, unit: &'a Unit, cx: &'a UnitContext) -> Result<BatchIter<'a>> {
        let PageRequest { page, snapshot } =
            PageRequest::deserialize(&unit.request).map_err(|error| not_a_page(unit, error))?;
        if page == 0
            && let Some(first) = self.first().take()
        {
            return self.read_first(&unit.label, &first, cx);
        }
        if page < snapshot.announced && self.pages.has_ended() {
            return Ok(Box::new(std::iter::empty()));
        }
        let mut pages = Pages {
            session: &self.pages,
            snapshot,
            cx,
            decoder: Decoder::new(self.pages.form.clone()),
            batches: VecDeque::new(),
            next: None,
        };
        pages.read(page)?;
        Ok(Box::new(pages))
    }
}

impl ProfilesSession {
    fn first(&self) -> MutexGuard<'_, Option<FetchedPage>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_first<'a>(
        &self,
        label: &str,
        page: &FetchedPage,
        cx: &UnitContext,
    ) -> Result<BatchIter<'a>> {
        let mut decoder = Decoder::new(self.pages.form.clone());
        let mut batches = Vec::new();
        self.pages
            .decode(page, label, &mut decoder, &mut batches, cx)?;
        Ok(Box::new(batches.into_iter().map(Ok)))
    }
}

fn not_a_page(unit: &Unit, error: serde_json::Error) -> Error {
    let message = format!("`{}` is not a page of profiles", unit.label);
    Error::new(ErrorKind::Other, message).with_source(error)
}

/// The batches of a page and, if it is the last one, of all that follow and
/// nobody announced; one page at a time.
///
/// A total that is too small, or that grows, must not lose a page. It costs a
/// request when the last page is full.
struct Pages<'a> {
    session: &'a SnapshotPages,
    snapshot: Snapshot,
    cx: &'a UnitContext,
    decoder: Decoder,
    batches: VecDeque<RecordBatch>,
    next: Option<u64>,
}

impl Pages<'_> {
    fn read(&mut self, n: u64) -> Result<()> {
        let (session, snapshot) = (self.session, &self.snapshot);
        let what = || session.client.what();
        if n >= MOST_PAGES {
            return Err(incomplete(format!("{} do not end", what()))
                .because(format!("after {MOST_PAGES} pages there are more"))
                .fatal());
        }
        let announced = snapshot.announced_on(n);
        let page = match session.fetch(n, snapshot.id.as_deref(), announced, self.cx) {
            Ok(page) => page,
            Err(error)
                if snapshot.may_lack(n)
                    && error.kind() == ErrorKind::Request
                    && !error.is_plan_void() =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let label = format!("page {n}");
        let mut batches = Vec::new();
        session.decode(&page, &label, &mut self.decoder, &mut batches, self.cx)?;
        self.batches.extend(batches);
        let count = page.count();
        if n + 1 < snapshot.pages {
            if count < announced
                || page
                    .page
                    .page_size
                    .is_some_and(|size| size != snapshot.size)
            {
                self.cx.notify(Notice::Warning(format!(
                    "page {n} has {count} profiles where {} were announced, and is not the last page",
                    snapshot.size
                )));
            }
        } else if page.is_full() || (snapshot.until_empty && count > 0) {
            self.next = Some(n + 1);
        }
        Ok(())
    }
}

impl Iterator for Pages<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            if let Some(batch) = self.batches.pop_front() {
                return Some(Ok(batch));
            }
            let n = self.next.take()?;
            if let Err(error) = self.read(n) {
                return Some(Err(error));
            }
        }
    }
}
