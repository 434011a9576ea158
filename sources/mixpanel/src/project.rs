//! One project of Mixpanel: where it is, who asks, and within which limits.
//!
//! The same for every stream of it.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;
use mixflow_core::config::{Env, Invalid, TextOrNumber};
use mixflow_core::context::RunContext;
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::registry::BuildContext;
use mixflow_core::slots::RequestSlots;
use mixflow_core::source::{ArchivePlace, DataKind, Dataset};
use mixflow_source_archive::Archive;
use serde_json::{Map, Value};

use crate::auth::{Auth, AuthOptions};
use crate::http::checkpoint::Checkpoints;
use crate::http::client::Client;
use crate::http::endpoint::{Credentials, Endpoint, Region, Service};
use crate::http::quota::{LimitOptions, Limits, Quota, Shared};
use crate::http::retry::RetryOptions;
use crate::keeper::Keeper;

/// Records that may be rejected before a run fails, unless told otherwise.
const MAX_REJECTS: u64 = 1000;

/// What the options of every stream say of its project.
pub(crate) struct ProjectOptions {
    pub(crate) connection: Option<String>,
    pub(crate) project_id: Option<TextOrNumber>,
    pub(crate) region: Option<Region>,
    pub(crate) auth: Option<AuthOptions>,
    pub(crate) base_url: Option<String>,
    pub(crate) max_rejects: Option<u64>,
    pub(crate) retry: RetryOptions,
    pub(crate) limits: LimitOptions,
}

/// A project, as one service of Mixpanel's knows it.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    pub(crate) endpoint: Endpoint,
    /// None where nothing is asked for.
    auth: Option<Auth>,
    env: Env,
    pub(crate) retry: RetryOptions,
    limits: Limits,
    state: Option<PathBuf>,
    /// What other machines share the quota by.
    slots: Option<Arc<dyn RequestSlots>>,
    /// Where whole bodies are kept.
    pub(crate) archive: Option<Archive>,
    pub(crate) archive_place: Option<ArchivePlace>,
    pub(crate) max_rejects: u64,
    /// Things a person should know before the run.
    pub(crate) warnings: Vec<String>,
}

impl Project {
    /// Checks the options. What is wrong goes to `invalid`. `zone` is where its days begin, if that is not UTC.
    pub(crate) fn new(
        options: ProjectOptions,
        service: &'static Service,
        zone: Option<TimeZone>,
        cx: &BuildContext,
        invalid: &mut Vec<Invalid>,
    ) -> Project {
        check_limits(&options.retry, options.limits, invalid);
        if options.connection.is_some() {
            let message = "named connections are known to the command line only: set `project_id`, `region` and `auth`";
            invalid.push(Invalid::new("connection", message));
        }
        let mut warnings = Vec::new();
        let has_id = options.project_id.is_some();
        let auth = if cx.replays {
            None
        } else {
            Auth::new(options.auth, has_id, cx, invalid, &mut warnings)
        };
        let region = options.region.unwrap_or_default();
        let (url, id) = (options.base_url, options.project_id);
        let mut endpoint = Endpoint::new(service, region, url, id, invalid);
        endpoint.zone = zone;
        Project {
            endpoint,
            auth,
            env: cx.env.clone(),
            retry: options.retry,
            limits: service.limits.with(options.limits),
            state: cx.state.clone(),
            slots: cx.slots.clone(),
            archive: cx
                .archive
                .as_ref()
                .map(|place| Archive::of(place).with_scratch(cx.state.as_deref())),
            archive_place: cx.archive.clone(),
            max_rejects: options.max_rejects.unwrap_or(MAX_REJECTS),
            warnings,
        }
    }

    /// Returns which data of the project `filters` choose.
    ///
    /// Nothing in these depends on the machine or the time.
    pub(crate) fn dataset(&self, kind: DataKind, filters: Map<String, Value>) -> Dataset {
        let zone = self.endpoint.zone.as_ref().and_then(TimeZone::iana_name);
        Dataset {
            project: self.endpoint.project_id.clone().unwrap_or_default(),
            kind,
            zone: zone.unwrap_or("UTC").to_owned(),
            filters,
        }
    }

    /// Returns the requests that may be made, as the processes of the machine
    /// share them.
    pub(crate) fn quota(&self) -> Quota {
        self.quota_of(&self.endpoint)
    }

    fn quota_of(&self, endpoint: &Endpoint) -> Quota {
        let shared = self.state.as_ref().map(|state| Shared {
            state: state.clone(),
            endpoint: endpoint.quota_name(),
        });
        let quota = Quota::new(self.limits, shared.as_ref());
        quota.shared_by(self.slots.clone(), endpoint.quota_name())
    }

    /// Returns the requests of an hour that a pipeline file or Mixpanel's
    /// documentation allows.
    pub(crate) fn per_hour(&self) -> u32 {
        self.limits.per_hour
    }

    /// Returns the requests that may be made at once.
    pub(crate) fn max_workers(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.limits.concurrent as usize)
    }

    /// Begins a run: gets the credentials and makes a client.
    ///
    /// Fails when the credentials cannot be had, or a proxy is wanted that
    /// cannot be used.
    pub(crate) fn open(&self, cx: &RunContext) -> Result<Client> {
        let credentials = self.credentials(cx)?;
        self.client(self.endpoint.clone(), &credentials, self.retry.clone(), cx)
    }

    /// Gets the credentials.
    pub(crate) fn credentials(&self, cx: &RunContext) -> Result<Credentials> {
        let auth = self.auth.as_ref().ok_or_else(|| {
            let what = self.endpoint.what();
            let message = format!("cannot ask for {what} without credentials");
            Error::new(ErrorKind::Config, message)
        })?;
        auth.resolve(&self.env, &cx.cancel)
    }

    /// Makes a client of the project's, at this endpoint.
    pub(crate) fn client(
        &self,
        endpoint: Endpoint,
        credentials: &Credentials,
        retry: RetryOptions,
        cx: &RunContext,
    ) -> Result<Client> {
        let quota = self.quota_of(&endpoint);
        Client::new(endpoint, credentials, retry, quota, &self.env, &cx.cancel)
    }

    /// Returns what keeps the whole bodies of a run, if they are kept.
    pub(crate) fn keeper(&self, dataset: &Dataset) -> Option<Keeper> {
        let archive = self.archive.clone()?;
        Some(Keeper::new(archive, dataset.clone()))
    }

    /// Opens the folder where bodies are until their run has committed. Without
    /// it the system's temporary one serves.
    pub(crate) fn checkpoints(&self) -> Option<Checkpoints> {
        Checkpoints::open(self.state.as_deref()?)
            .inspect_err(|error| log::warn!("cannot keep what is fetched: {error}"))
            .ok()
    }
}

fn check_limits(retry: &RetryOptions, limits: LimitOptions, invalid: &mut Vec<Invalid>) {
    if retry.max_attempts == 0 {
        invalid.push(Invalid::new(
            "retry.max_attempts",
            "at least 1 try is needed",
        ));
    }
    for (key, value) in [
        ("limits.per_second", limits.per_second),
        ("limits.per_hour", limits.per_hour),
        ("limits.concurrent", limits.concurrent),
    ] {
        if value == Some(0) {
            invalid.push(Invalid::new(key, "at least 1 is needed"));
        }
    }
}
