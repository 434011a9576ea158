//! `mixpanel_profiles`: pages of the engage endpoint.
//!
//! Page 0 opens a session, which is a snapshot; its answer says how many pages
//! follow. These are asked for with the session and all the filters again.

use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use mixflow_core::config::{Env, Invalid, TextOrNumber};
use mixflow_core::context::{Notice, TaskContext, incomplete};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::registry::BuildContext;
use mixflow_core::reject::Reject;
use mixflow_core::sink::RecordFormat;
use mixflow_core::source::{BatchIter, Extent, Outline, Partition, Plan, Source, SourceInfo};
use serde_json::{Value, json};

use crate::body::{Broken, Keep, keep};
use crate::client::{Client, Request};
use crate::decode::{Decoder, Form, repair};
use crate::options::{Auth, Endpoint, EndpointKind, MAX_REJECTS, ProfilesOptions, check_limits};
use crate::page::Page;
use crate::quota::{Limits, Quota};
use crate::retry::{Failure, RetryOptions, Tries};
use crate::schema;

/// The page size that Mixpanel documents, for answers that do not say theirs.
const PAGE_SIZE: u64 = 1000;

/// A longer page is not one: pages have 1,000 profiles. It is read as a whole,
/// so the cap bounds the memory.
const MAX_PAGE: u64 = 256 << 20;

/// Profiles of a project, by page.
#[derive(Debug)]
pub struct ProfilesSource {
    endpoint: Endpoint,
    auth: Auth,
    env: Env,
    form: Form,
    form_fields: Vec<(&'static str, String)>,
    filters: serde_json::Map<String, Value>,
    retry: RetryOptions,
    limits: Limits,
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
        let (form_fields, filters) = filters(&options, &mut invalid);
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
            form_fields,
            filters,
            retry: options.retry,
            limits: Limits::ENGAGE.with(options.limits),
            max_rejects: options.max_rejects.unwrap_or(MAX_REJECTS),
            state: cx.state.clone(),
            warnings,
        })
    }

    fn quota(&self) -> Quota {
        let folder = self.state.as_ref();
        Quota::new(
            self.limits,
            folder.map(|state| self.endpoint.quota_folder(state)),
        )
    }

    fn quota_warning(&self, pages: u64) -> Option<String> {
        let hourly = u64::from(self.limits.per_hour);
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
            data_type: "profiles".to_owned(),
            title: self.endpoint.what(),
            filters: self.filters.clone(),
            warnings: self.warnings.clone(),
            ..SourceInfo::default()
        }
    }

    /// Asks for page 0, and splits by what it says.
    fn plan(&self, cx: &TaskContext) -> Result<Plan> {
        let credentials = self.auth.resolve(&self.env)?;
        let session = Session {
            client: Client::new(
                self.endpoint.clone(),
                &credentials,
                self.retry.clone(),
                self.quota(),
                &cx.cancel,
            ),
            fields: self.form_fields.clone(),
            form: self.form.clone(),
        };
        let first = session.fetch(0, None, cx)?;
        let size = first.size();
        let total = first.page.total;
        let announced = total.map(|total| total.div_ceil(size).max(1));
        let full = first.count() >= size;
        // A full page may be followed by another one, whatever the total says.
        let pages = announced.unwrap_or(1).max(if full { 2 } else { 1 });
        let session_id = first.page.session_id.clone();
        if pages > 1 && session_id.is_none() {
            return Err(
                incomplete(format!("{} are incomplete", session.client.what())).because(
                    "page 0 has no `session_id`, without which page 1 cannot be asked for",
                ),
            );
        }
        let mut warnings: Vec<String> = self.quota_warning(pages).into_iter().collect();
        if pages > 1 && first.count() < size {
            warnings.push(format!(
                "page 0 has {} of {size} profiles although {pages} pages were announced",
                first.count()
            ));
        }
        let session = Arc::new(session);
        let mut partitions: Vec<Box<dyn Partition>> = vec![Box::new(FirstPage {
            session: Arc::clone(&session),
            page: Mutex::new(Some(first)),
        })];
        for n in 1..pages {
            let last = n + 1 == pages;
            partitions.push(Box::new(LaterPage {
                label: format!("page {n}"),
                session: Arc::clone(&session),
                session_id: session_id.clone(),
                n,
                size,
                announced: announced.unwrap_or(u64::MAX),
                then: match last {
                    false => Then::MorePages,
                    true => Then::UntilShort,
                },
            }));
        }
        Ok(Plan {
            partitions,
            max_workers: NonZeroUsize::new(self.limits.concurrent as usize),
            ordered: true,
            expected_rows: total,
            requests: pages,
            warnings,
        })
    }

    fn outline(&self) -> Outline {
        Outline {
            partitions: Vec::new(),
            requests: None,
            requests_per_hour: Some(self.limits.per_hour),
            used_in_last_hour: Some(self.quota().used()),
            max_workers: NonZeroUsize::new(self.limits.concurrent as usize),
            notes: vec!["the first page tells how many follow, of 1,000 profiles each".to_owned()],
        }
    }

    fn max_rejects(&self) -> u64 {
        self.max_rejects
    }
}

/// Turns the filters into form fields and into what the metadata shows.
fn filters(
    options: &ProfilesOptions,
    invalid: &mut Vec<Invalid>,
) -> (Vec<(&'static str, String)>, serde_json::Map<String, Value>) {
    let mut fields = Vec::new();
    let mut filters = serde_json::Map::new();
    let mut add = |key: &str, name: &'static str, sent: String, shown: Value| {
        fields.push((name, sent));
        filters.insert(key.to_owned(), shown);
    };
    if let Some(expression) = &options.where_ {
        if expression.trim().is_empty() {
            invalid.push(Invalid::new("where", "this is empty; leave it out instead"));
        }
        add("where", "where", expression.clone(), json!(expression));
    }
    if let Some(TextOrNumber(id)) = &options.distinct_id {
        add("distinct_id", "distinct_id", id.clone(), json!(id));
    }
    if let Some(ids) = &options.distinct_ids {
        if options.distinct_id.is_some() {
            invalid.push(Invalid::new(
                "distinct_ids",
                "this and `distinct_id` exclude each other",
            ));
        }
        if ids.is_empty() {
            invalid.push(Invalid::new("distinct_ids", "this names no profile"));
        }
        let ids: Vec<&str> = ids.iter().map(|TextOrNumber(id)| id.as_str()).collect();
        add(
            "distinct_ids",
            "distinct_ids",
            json!(ids).to_string(),
            json!(ids),
        );
    }
    if let Some(TextOrNumber(id)) = &options.group_id {
        // The API's ids are signed 64-bit numbers, as text.
        if id.parse::<i64>().is_err() {
            invalid.push(Invalid::new("group_id", "a group's id is a whole number"));
        }
        add("group_id", "data_group_id", id.clone(), json!(id));
    }
    if let Some(names) = &options.output_properties {
        if names.is_empty() {
            invalid.push(Invalid::new(
                "output_properties",
                "this names no property; leave it out to get all of them",
            ));
        }
        add(
            "output_properties",
            "output_properties",
            json!(names).to_string(),
            json!(names),
        );
    }
    if let Some(TextOrNumber(id)) = &options.cohort_id {
        match id.parse::<u64>() {
            Ok(number) => add(
                "cohort_id",
                "filter_by_cohort",
                json!({ "id": number }).to_string(),
                json!(number),
            ),
            Err(_) => invalid.push(Invalid::new("cohort_id", "a cohort's id is a whole number")),
        }
    }
    if let Some(include) = options.include_all_users {
        if options.cohort_id.is_none() {
            invalid.push(Invalid::new(
                "include_all_users",
                "this needs `cohort_id`; it is about a cohort's members",
            ));
        }
        add(
            "include_all_users",
            "include_all_users",
            include.to_string(),
            json!(include),
        );
    }
    if let Some(behaviors) = &options.behaviors {
        if options.cohort_id.is_some() {
            invalid.push(Invalid::new(
                "behaviors",
                "this and `cohort_id` exclude each other",
            ));
        }
        match behaviors {
            toml::Value::String(text) => add("behaviors", "behaviors", text.clone(), json!(text)),
            other => {
                let value = json!(other);
                add("behaviors", "behaviors", value.to_string(), value);
            }
        }
    }
    if let Some(seconds) = options.as_of_timestamp {
        if options.behaviors.is_none() {
            invalid.push(Invalid::new(
                "as_of_timestamp",
                "this needs `behaviors`; it is the time at which they are evaluated",
            ));
        }
        add(
            "as_of_timestamp",
            "as_of_timestamp",
            seconds.to_string(),
            json!(seconds),
        );
    }
    (fields, filters)
}

/// The snapshot that the pages belong to.
struct Session {
    client: Client,
    fields: Vec<(&'static str, String)>,
    form: Form,
}

/// A page with the text that its profiles stand in.
struct FetchedPage {
    text: String,
    page: Page,
}

impl FetchedPage {
    fn count(&self) -> u64 {
        self.page
            .results
            .as_ref()
            .map_or(0, |found| found.len() as u64)
    }

    /// The page size of this answer; the server may not keep to what it says
    /// elsewhere.
    fn size(&self) -> u64 {
        self.page
            .page_size
            .filter(|size| *size > 0)
            .unwrap_or(PAGE_SIZE)
    }
}

impl Session {
    /// Fetches a page until it is whole.
    fn fetch(&self, n: u64, session_id: Option<&str>, cx: &TaskContext) -> Result<FetchedPage> {
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
        Tries::new(&self.client.retry, cx, &label)
            .run(|| self.attempt(&request, &label, cx))
            .map_err(|error| match session_id {
                Some(_) if has_expired(&error) => error
                    .context(format!(
                        "the session of the snapshot expired before {label}"
                    ))
                    .hint("run it again; with more workers it takes less time")
                    .voids_plan(),
                _ => error,
            })
    }

    fn attempt(
        &self,
        request: &Request,
        label: &str,
        cx: &TaskContext,
    ) -> Result<FetchedPage, Failure> {
        let cut = |reason: String| {
            let what = self.client.what();
            Failure::again(incomplete(format!("{label} of {what} is incomplete")).because(reason))
        };
        let mut answer = self.client.send(request, label, cx)?;
        let count = |bytes| cx.count_bytes(bytes);
        let body = keep(
            &mut answer.wire,
            answer.encoding,
            false,
            Keep::ForNow(None),
            count,
        )
        .map_err(|broken| match broken {
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
            let error = Error::new(ErrorKind::Request, format!("cannot read {label} of {what}"))
                .because(format!(
                    "the server answered 200 with an error: {}",
                    self.client.shown(said.as_bytes())
                ));
            return Err(match has_expired(&error) {
                true => Failure::Final(error),
                false => Failure::again(error),
            });
        }
        if page.results.is_none() {
            return Err(cut("it has no `results`".to_owned()));
        }
        Ok(FetchedPage { text, page })
    }

    /// Decodes a page's profiles. A bad one is a reject and costs no page.
    fn decode(
        &self,
        page: &FetchedPage,
        label: &str,
        decoder: &mut Decoder,
        batches: &mut Vec<RecordBatch>,
        cx: &TaskContext,
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
    error.kind() == ErrorKind::Request
        && error
            .causes()
            .iter()
            .any(|cause| cause.contains("uncached query"))
}

fn unspooled(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot keep a page on disk").with_source(error)
}

/// Page 0, which `plan` has fetched.
struct FirstPage {
    session: Arc<Session>,
    page: Mutex<Option<FetchedPage>>,
}

impl Partition for FirstPage {
    fn label(&self) -> &'static str {
        "page 0"
    }

    fn extent(&self) -> Extent {
        Extent::Unaddressable
    }

    fn read<'a>(&'a self, cx: &'a TaskContext) -> Result<BatchIter<'a>> {
        let page = self
            .page
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let page = page.expect("a partition is read once");
        let mut decoder = Decoder::new(self.session.form.clone());
        let mut batches = Vec::new();
        self.session
            .decode(&page, self.label(), &mut decoder, &mut batches, cx)?;
        Ok(Box::new(batches.into_iter().map(Ok)))
    }
}

/// What comes after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Pages that are partitions of their own.
    MorePages,
    /// Pages that nobody announced, until one is not full.
    ///
    /// Also when the total says that there are none: a total that is too
    /// small, or that grows, must not lose a page. It costs a request when the
    /// last page is full.
    UntilShort,
}

/// Any page but the first.
struct LaterPage {
    label: String,
    session: Arc<Session>,
    session_id: Option<String>,
    n: u64,
    /// The page size of page 0, by which the pages were counted.
    size: u64,
    /// The pages that the total stands for.
    announced: u64,
    then: Then,
}

impl Partition for LaterPage {
    fn label(&self) -> &str {
        &self.label
    }

    fn extent(&self) -> Extent {
        Extent::Unaddressable
    }

    fn read<'a>(&'a self, cx: &'a TaskContext) -> Result<BatchIter<'a>> {
        let mut decoder = Decoder::new(self.session.form.clone());
        let mut batches = Vec::new();
        let mut n = self.n;
        loop {
            let page = match self.session.fetch(n, self.session_id.as_deref(), cx) {
                Ok(page) => page,
                // There is no such page, just as the total said.
                Err(error) if n >= self.announced && error.kind() == ErrorKind::Request => {
                    return Ok(Box::new(batches.into_iter().map(Ok)));
                }
                Err(error) => return Err(error),
            };
            let (count, size) = (page.count(), page.size());
            let label = format!("page {n}");
            self.session
                .decode(&page, &label, &mut decoder, &mut batches, cx)?;
            let full = count >= size;
            match self.then {
                Then::MorePages if !full || size != self.size => {
                    cx.notify(Notice::Warning(format!(
                        "page {n} has {count} profiles where {} were announced, and is not the last page",
                        self.size
                    )));
                }
                Then::UntilShort if full => {
                    n += 1;
                    continue;
                }
                Then::MorePages | Then::UntilShort => {}
            }
            return Ok(Box::new(batches.into_iter().map(Ok)));
        }
    }
}
