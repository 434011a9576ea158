//! The options of a simulator.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use jiff::civil::Date;

use super::auth::Accounts;
use super::data::Data;
use super::engage::{Paging, Sessions, TotalOn};
use super::export::Cache;
use super::fault::Fault;
use super::http::Framing;
use super::injector::Injector;
use super::limits::{Gate, Limits};
use super::log::{Endpoint, Log};
use super::server::{Config, Shared, Simulator};
use super::stop::Stop;

/// Collects the options of a [`Simulator`].
#[derive(Debug)]
pub struct Builder {
    config: Config,
    data: Data,
    faults: Vec<Fault>,
    limits: [Limits; 2],
    cached_answers: usize,
    log_file: Option<PathBuf>,
    port: u16,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: Config {
                accounts: Accounts::default(),
                project_id: None,
                today: None,
                latency: Duration::ZERO,
                framing: Framing::default(),
                gzip_level: 3,
                paging: Paging {
                    page_size: 1_000,
                    total_on: TotalOn::default(),
                    lie_about_total: None,
                    results_first: false,
                    without_profile: 0,
                },
            },
            data: Data::default(),
            faults: Vec::new(),
            limits: [Limits::default(), Limits::default()],
            cached_answers: 400,
            log_file: None,
            port: 0,
        }
    }
}

impl Builder {
    /// Sets the events and profiles of the project.
    pub fn data(mut self, data: Data) -> Self {
        self.data = data;
        self
    }

    /// Accepts a service account, which has to name the project.
    ///
    /// All credentials that are set are accepted. If none are, none are asked for.
    pub fn credentials(mut self, user: impl Into<String>, secret: impl Into<String>) -> Self {
        self.config.accounts.service = Some((user.into(), secret.into()));
        self
    }

    /// Accepts a project secret as user name with an empty password.
    pub fn project_secret(mut self, secret: impl Into<String>) -> Self {
        self.config.accounts.project_secret = Some(secret.into());
        self
    }

    /// Accepts an OAuth token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.accounts.token = Some(token.into());
        self
    }

    /// Answers requests for another project with 403.
    pub fn project_id(mut self, id: impl Into<String>) -> Self {
        self.config.project_id = Some(id.into());
        self
    }

    /// Sets the number of profiles on a full page, by default 1,000.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn page_size(mut self, profiles: usize) -> Self {
        assert!(profiles > 0, "a page of no profiles has no end");
        self.config.paging.page_size = profiles;
        self
    }

    /// Sets the pages that name the total.
    pub fn total_on(mut self, pages: TotalOn) -> Self {
        self.config.paging.total_on = pages;
        self
    }

    /// Names this total instead of the true one.
    pub fn lie_about_total(mut self, total: u64) -> Self {
        self.config.paging.lie_about_total = Some(total);
        self
    }

    /// Writes `results` before the other members of a page.
    pub fn results_first(mut self, first: bool) -> Self {
        self.config.paging.results_first = first;
        self
    }

    /// Gives each cohort members without a profile, by default none. They are
    /// sent unless the request says `include_all_users=false`.
    pub fn members_without_profile(mut self, count: usize) -> Self {
        self.config.paging.without_profile = count;
        self
    }

    /// Waits before the first byte of each answer.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.config.latency = latency;
        self
    }

    /// Adds a fault behind the others.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Answers exports that reach beyond `today` with 400.
    pub fn today(mut self, today: Date) -> Self {
        self.config.today = Some(today);
        self
    }

    /// Sets the limits of both endpoints, which are counted apart.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = [limits.clone(), limits];
        self
    }

    /// Sets the limits of one endpoint.
    pub fn limits_of(mut self, endpoint: Endpoint, limits: Limits) -> Self {
        match endpoint {
            Endpoint::Export => self.limits[0] = limits,
            Endpoint::Engage => self.limits[1] = limits,
            Endpoint::Other => {}
        }
        self
    }

    /// Sets how the length of a body is told.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.config.framing = framing;
        self
    }

    /// Sets the gzip level, 0 to 9, by default 3.
    pub fn gzip_level(mut self, level: u32) -> Self {
        self.config.gzip_level = level.min(9);
        self
    }

    /// Sets how many whole exports stay in memory, by default 400.
    pub fn cached_answers(mut self, answers: usize) -> Self {
        self.cached_answers = answers;
        self
    }

    /// Writes the log to a file as well, one JSON object a line.
    pub fn log_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.log_file = Some(path.into());
        self
    }

    /// Sets the port; by default the system picks one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Binds the port and starts to answer.
    pub fn start(self) -> io::Result<Simulator> {
        let injector = Injector::default();
        for fault in self.faults {
            injector.add(fault);
        }
        let [export, engage] = self.limits;
        let shared = Shared {
            config: self.config,
            data: RwLock::new(Arc::new(self.data)),
            cache: Cache::new(self.cached_answers),
            sessions: Sessions::default(),
            injector,
            log: Log::new(self.log_file.as_deref())?,
            all: Arc::default(),
            export: Arc::new(Gate::new(export)),
            engage: Arc::new(Gate::new(engage)),
            other: Arc::default(),
            answers: AtomicUsize::new(0),
            stop: Stop::default(),
        };
        Simulator::start(shared, self.port)
    }
}
