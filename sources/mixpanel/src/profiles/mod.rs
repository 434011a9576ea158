//! Profiles: pages of the engage endpoint.
//!
//! Page 0 opens a session, which is a snapshot; its answer says how many pages
//! follow. These are asked for with the session and all the filters again.

mod asked;
mod early;
mod fetch;
mod fetched;
mod filters;
mod page;
mod people;
mod replay;
mod rows;
mod snapshot;
mod units;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mixflow_core::config::Invalid;
use mixflow_core::context::{RunContext, UnitContext};
use mixflow_core::error::Result;
use mixflow_core::ledger::Held;
use mixflow_core::registry::BuildContext;
use mixflow_core::sink::RecordFormat;
use mixflow_core::source::{
    BatchIter, DataKind, Dataset, Fate, Outline, Plan, Session, SourceInfo, Unit,
};
use mixflow_source_archive::Archive;

use self::fetch::Pages;
use self::fetched::FetchedPage;
use self::filters::Filters;
use self::replay::ReplaySession;
use self::rows::PageRows;
use self::snapshot::Snapshot;
use self::units::PageRequest;
use crate::decode::Form;
use crate::http::client::{Client, Request};
use crate::http::endpoint::Service;
use crate::http::quota::Limits;
use crate::options::ProfilesOptions;
use crate::project::Project;
use crate::stream::{Question, Stream};

/// The query endpoint of profiles.
static ENGAGE: Service = Service {
    name: "engage",
    data: "profiles",
    path: "/api/query/engage",
    hosts: ["mixpanel.com", "eu.mixpanel.com", "in.mixpanel.com"],
    limits: Limits::ENGAGE,
};

/// The profiles of a project.
#[derive(Clone, Debug)]
pub(crate) struct Profiles {
    dataset: Dataset,
    form: Form,
    fields: Vec<(&'static str, String)>,
    /// The time of `behaviors`, if there are any.
    as_of: Option<i64>,
    accept_short: bool,
}

impl Profiles {
    /// Checks the options; fails with all that is wrong with them.
    pub(crate) fn new(
        options: ProfilesOptions,
        cx: &BuildContext,
    ) -> Result<(Project, Profiles), Vec<Invalid>> {
        let mut invalid = Vec::new();
        let filters = Filters::new(&options, cx.now, &mut invalid);
        let accept_short = options.accept_short.unwrap_or(false);
        let project = Project::new(options.project(), &ENGAGE, None, cx, &mut invalid);
        if !invalid.is_empty() {
            return Err(invalid);
        }
        let profiles = Profiles {
            dataset: project.dataset(DataKind::Profiles, filters.chosen),
            form: match cx.records {
                RecordFormat::Raw => Form::Raw,
                RecordFormat::Normalized => Form::Profiles,
            },
            fields: filters.fields,
            as_of: filters.as_of,
            accept_short,
        };
        Ok((project, profiles))
    }
}

impl Stream for Profiles {
    fn form(&self) -> &Form {
        &self.form
    }

    fn info(&self) -> SourceInfo {
        SourceInfo {
            dataset: self.dataset.clone(),
            ..SourceInfo::default()
        }
    }

    fn accepts_short(&self) -> bool {
        self.accept_short
    }

    fn outline(&self, project: &Project, _held: &Held) -> Outline {
        let quota = project.quota();
        Outline {
            units: Vec::new(),
            requests: None,
            requests_per_hour: Some(quota.per_hour()),
            used_in_last_hour: Some(quota.used()),
            max_workers: project.max_workers(),
            notes: vec!["the first page tells how many follow, of 1,000 profiles each".to_owned()],
        }
    }

    /// A page of one profile, with the filters of all and next to nothing of
    /// it. Where the size of a page is not up to us, it is one page.
    fn questions(&self) -> Vec<Question> {
        let filters = self.fields.iter();
        let filters = filters.filter(|(key, _)| *key != "output_properties");
        let mut form: Vec<(&'static str, String)> = filters.cloned().collect();
        let as_of = self.as_of.map(|seconds| seconds.to_string());
        form.extend(as_of.map(|seconds| ("as_of_timestamp", seconds)));
        form.push(("output_properties", "[\"$last_seen\"]".to_owned()));
        form.push(("page_size", "1".to_owned()));
        let request = Request {
            query: Vec::new(),
            form: Some(form),
            counts: true,
        };
        vec![Question {
            request,
            label: "page 0".to_owned(),
            day: None,
        }]
    }

    fn replay(&self, archive: &Archive, what: &str, _: &RunContext) -> Result<Box<dyn Session>> {
        let session = ReplaySession::open(&self.dataset, &self.form, archive, what)?;
        Ok(Box::new(session))
    }

    fn session(&self, project: &Project, client: Client, cx: &RunContext) -> Box<dyn Session> {
        let (keeper, key) = (project.keeper(&self.dataset), self.dataset.key());
        let (fields, form) = (self.fields.clone(), self.form.clone());
        Box::new(ProfilesSession {
            project: project.clone(),
            profiles: self.clone(),
            pages: Arc::new(Pages::new(client, fields, form, keeper, key)),
            first: Mutex::default(),
            cx: cx.clone(),
        })
    }
}

/// The profiles of one run.
struct ProfilesSession {
    project: Project,
    profiles: Profiles,
    pages: Arc<Pages>,
    /// Page 0, once `plan` has fetched it and until it is read.
    first: Mutex<Option<FetchedPage>>,
    cx: RunContext,
}

impl Session for ProfilesSession {
    /// Asks for page 0, and splits by what it says.
    fn plan(&self) -> Result<Plan> {
        let as_of = self.profiles.as_of;
        let mut first = self.pages.fetch_first(as_of, self.beside(), &self.cx)?;
        let snapshot = Snapshot::of(&first, as_of, self.profiles.accept_short)
            .map_err(|error| error.context(format!("{} are incomplete", self.pages.what())))?;
        let mut warnings: Vec<String> = self.quota_warning(snapshot.pages).into_iter().collect();
        warnings.extend(snapshot.warning(&first));
        self.pages.keep(&snapshot, 0, &mut first)?;
        *self.first() = Some(first);
        Ok(Plan {
            units: self.units(&snapshot),
            max_workers: self.project.max_workers(),
            ordered: true,
            expected_rows: snapshot.total,
            requests: snapshot.pages,
            warnings,
        })
    }

    fn read<'a>(&'a self, unit: &'a Unit, cx: &'a UnitContext) -> Result<BatchIter<'a>> {
        let PageRequest { page, snapshot } = PageRequest::read(unit)?;
        if page == 0
            && let Some(first) = self.first().take()
        {
            return self.read_first(&unit.label, &first, cx);
        }
        if page < snapshot.pages && self.pages.has_ended_before(page) {
            return Ok(Box::new(std::iter::empty()));
        }
        Ok(Box::new(PageRows::of(page, snapshot, &self.pages, cx)?))
    }

    fn finish(&self, fate: Fate) {
        self.pages.finish(fate);
    }
}

impl ProfilesSession {
    /// Returns how many pages may be asked for beside another one.
    fn beside(&self) -> usize {
        let wanted = self.cx.workers;
        let allowed = self.project.max_workers();
        allowed.map_or(wanted, |allowed| allowed.min(wanted)).get() - 1
    }

    fn units(&self, snapshot: &Snapshot) -> Vec<Unit> {
        let dataset = self.profiles.dataset.key();
        let pages = 0..snapshot.pages;
        pages.map(|page| snapshot.unit(&dataset, page)).collect()
    }

    fn quota_warning(&self, pages: u64) -> Option<String> {
        let hourly = u64::from(self.project.quota().per_hour());
        (pages * 5 >= hourly * 4).then(|| {
            format!(
                "{pages} pages are {} % of the {hourly} requests that Mixpanel allows in an hour; the run may have to wait for quota",
                pages * 100 / hourly
            )
        })
    }

    fn first(&self) -> MutexGuard<'_, Option<FetchedPage>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_first<'a>(
        &self,
        label: &str,
        page: &FetchedPage,
        cx: &UnitContext,
    ) -> Result<BatchIter<'a>> {
        let mut decoder = self.pages.decoder();
        let batches = page.decode(label, &mut decoder, cx)?;
        Ok(Box::new(batches.into_iter().map(Ok)))
    }
}
