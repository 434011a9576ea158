//! What a workspace is made with.

use std::path::PathBuf;

use mixflow_core::Result;
use mixflow_core::config::{Secret, SecretSource, TextOrNumber};
use mixflow_source_mixpanel::options::AuthOptions;
use mixflow_source_mixpanel::quota::LimitOptions;
use mixflow_source_mixpanel::retry::RetryOptions;

use super::connection::Connection;
use super::place::StorePlace;
use super::project::wrong;
use super::request::Request;
use super::{Events, Workspace};

/// Collects what a [`Workspace`] needs.
#[derive(Clone, Debug)]
#[must_use]
pub struct WorkspaceBuilder {
    connection: Connection,
    place: StorePlace,
}

impl WorkspaceBuilder {
    pub(super) fn new() -> WorkspaceBuilder {
        let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        WorkspaceBuilder {
            connection: Connection {
                state: crate::state_folder(home.as_deref()),
                home,
                ..Connection::default()
            },
            place: StorePlace::Default,
        }
    }

    /// Sets the project.
    pub fn project_id(mut self, project: impl Into<String>) -> WorkspaceBuilder {
        self.connection.project.id = Some(TextOrNumber(project.into()));
        self
    }

    /// Sets where the project's data lives: `us` (the default), `eu` or `in`.
    pub fn region(mut self, region: impl Into<String>) -> WorkspaceBuilder {
        self.connection.project.region = Some(region.into());
        self
    }

    /// Sets a service account. The secret is in no message and no file.
    pub fn service_account(
        self,
        username: impl Into<String>,
        secret: impl Into<String>,
    ) -> WorkspaceBuilder {
        self.auth(AuthOptions {
            username: Some(username.into()),
            secret: Some(plain(secret)),
            ..AuthOptions::default()
        })
    }

    /// Sets the secret of the project instead of a service account.
    pub fn project_secret(self, secret: impl Into<String>) -> WorkspaceBuilder {
        self.auth(AuthOptions {
            project_secret: Some(plain(secret)),
            ..AuthOptions::default()
        })
    }

    /// Sets an OAuth token instead of a service account.
    pub fn token(self, token: impl Into<String>) -> WorkspaceBuilder {
        self.auth(AuthOptions {
            token: Some(plain(token)),
            ..AuthOptions::default()
        })
    }

    /// Sets credentials that come from a file, a command or a variable. They are
    /// got anew for each run.
    pub fn auth(mut self, auth: AuthOptions) -> WorkspaceBuilder {
        self.connection.project.auth = Some(auth);
        self
    }

    /// Replaces scheme and host of every endpoint, for tests and proxies.
    pub fn base_url(mut self, url: impl Into<String>) -> WorkspaceBuilder {
        self.connection.project.base_url = Some(url.into());
        self
    }

    /// Sets how requests that fail are tried again.
    pub fn retry(mut self, retry: RetryOptions) -> WorkspaceBuilder {
        self.connection.project.retry = retry;
        self
    }

    /// Sets limits of requests other than Mixpanel's documented ones.
    pub fn limits(mut self, limits: LimitOptions) -> WorkspaceBuilder {
        self.connection.project.limits = limits;
        self
    }

    /// Keeps the store at `path`. The default is
    /// `~/.mixpanel_data/{project_id}.db`.
    pub fn path(mut self, path: impl Into<PathBuf>) -> WorkspaceBuilder {
        self.place = StorePlace::File(path.into());
        self
    }

    /// Opens the store at `path` only for reading: others may, too.
    pub fn read_only(mut self, path: impl Into<PathBuf>) -> WorkspaceBuilder {
        self.place = StorePlace::ReadOnly(path.into());
        self
    }

    /// Keeps the store in a temporary file that goes with the workspace; see
    /// [`Store::ephemeral`](crate::Store::ephemeral) for what becomes of it
    /// when the process is killed.
    pub fn ephemeral(mut self) -> WorkspaceBuilder {
        self.place = StorePlace::Ephemeral;
        self
    }

    /// Sets the user's home, for the default path. The default is the
    /// process's.
    pub fn home(mut self, home: impl Into<PathBuf>) -> WorkspaceBuilder {
        self.connection.home = Some(home.into());
        self
    }

    /// Sets the folder for quota, locks, rejects and what can be resumed. The
    /// default is that of the command line.
    pub fn state_folder(mut self, folder: impl Into<PathBuf>) -> WorkspaceBuilder {
        self.connection.state = Some(folder.into());
        self
    }

    /// Checks what can be checked offline. Opens no file and asks nothing.
    ///
    /// Fails with [`ErrorKind::Config`](crate::ErrorKind::Config) when a setting
    /// is missing or wrong.
    pub fn build(self) -> Result<Workspace> {
        // Whoever has no credentials may still use the store.
        if self.connection.project.auth.is_some() {
            let cx = self.connection.context();
            let probe = Request::from(Events::between("today", "today"));
            probe.build(&self.connection.project, &cx).map_err(wrong)?;
        }
        Ok(Workspace::new(self.connection, self.place))
    }
}

fn plain(secret: impl Into<String>) -> SecretSource {
    SecretSource::Plain(Secret::new(secret))
}
