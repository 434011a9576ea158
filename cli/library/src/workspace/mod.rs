//! mixflow as a library: fetch into a store, stream, ask.

mod records;
mod request;
mod stream;

use std::cell::{OnceCell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

use arrow::array::RecordBatch;
use jiff::Timestamp;
use mixflow_core::cancel::CancelToken;
use mixflow_core::config::{Document, Env, Override, OverrideValue, Problems, Secret, build};
use mixflow_core::engine::Pipeline;
use mixflow_core::observer::{Observer, Silent};
use mixflow_core::registry::{BuildContext, ComponentDoc, Registry};
use mixflow_core::report::{RunReport, Status};
use mixflow_core::sink::{CommitSummary, Sink};
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_duckdb::{DuckdbOptions, Store, TableInput};
use mixflow_source_mixpanel::schema;

pub use records::{Event, Profile, RawRecord};
pub use request::{Events, Profiles};
pub use stream::Stream;

use crate::launch::Launch;

/// The name under which the secret is in the environment of pipelines here.
const SECRET: &str = "MIXFLOW_WORKSPACE_SECRET";

/// A project of Mixpanel's and a store for what comes from it.
///
/// ```
/// use mixflow::{Events, Workspace};
/// # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
///
/// let workspace = Workspace::builder()
///     .project_id("12345")
///     .service_account("ann", "s3cret")
///     # .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests"))
///     .ephemeral()
///     .build()?;
/// let fetched = workspace.fetch_events(&Events::between("2024-01-01", "2024-01-14"))?;
/// assert_eq!((fetched.table.as_str(), fetched.row_count), ("events", 8_000));
/// let users: i64 = workspace
///     .store()?
///     .scalar("SELECT count(DISTINCT distinct_id) FROM events")?;
/// assert_eq!(users, 494);
/// # Ok::<_, mixflow::Error>(())
/// ```
#[derive(Debug)]
pub struct Workspace {
    connection: Connection,
    place: StorePlace,
    store: OnceCell<Store>,
}

/// What it takes to ask Mixpanel. Everything a pipeline's thread needs.
#[derive(Clone, Debug, Default)]
struct Connection {
    keys: Vec<Override>,
    secret: Option<Secret>,
    project_id: Option<String>,
    home: Option<PathBuf>,
    state: Option<PathBuf>,
}

/// Where the store is.
#[derive(Clone, Debug, Default)]
enum StorePlace {
    #[default]
    Default,
    File(PathBuf),
    ReadOnly(PathBuf),
    Ephemeral,
}

/// Collects what a [`Workspace`] needs.
#[derive(Clone, Debug)]
pub struct WorkspaceBuilder {
    connection: Connection,
    place: StorePlace,
}

impl WorkspaceBuilder {
    /// Sets the project.
    #[must_use]
    pub fn project_id(mut self, project: impl Into<String>) -> WorkspaceBuilder {
        let project = project.into();
        self.connection.project_id = Some(project.clone());
        self.key("source.project_id", OverrideValue::Text(project))
    }

    /// Sets where the project's data lives: `us` (the default), `eu` or `in`.
    #[must_use]
    pub fn region(self, region: impl Into<String>) -> WorkspaceBuilder {
        self.key("source.region", OverrideValue::Text(region.into()))
    }

    /// Sets a service account. The secret is in no message and no file.
    #[must_use]
    pub fn service_account(
        mut self,
        username: impl Into<String>,
        secret: impl Into<String>,
    ) -> WorkspaceBuilder {
        self.connection.secret = Some(Secret::new(secret));
        let auth = vec![
            ("username".to_owned(), OverrideValue::Text(username.into())),
            ("secret".to_owned(), from_env(SECRET)),
        ];
        self.key("source.auth", OverrideValue::Table(auth))
    }

    /// Sets the secret of the project instead of a service account.
    #[must_use]
    pub fn project_secret(mut self, secret: impl Into<String>) -> WorkspaceBuilder {
        self.connection.secret = Some(Secret::new(secret));
        let auth = vec![("project_secret".to_owned(), from_env(SECRET))];
        self.key("source.auth", OverrideValue::Table(auth))
    }

    /// Replaces scheme and host of every endpoint, for tests and proxies.
    #[must_use]
    pub fn base_url(self, url: impl Into<String>) -> WorkspaceBuilder {
        self.key("source.base_url", OverrideValue::Text(url.into()))
    }

    /// Sets any other key of the source as in a pipeline file, such as
    /// `set("retry.max_wait", "5m")`.
    #[must_use]
    pub fn set(self, key: &str, value: impl Into<String>) -> WorkspaceBuilder {
        self.key(&format!("source.{key}"), OverrideValue::Guess(value.into()))
    }

    /// Keeps the store at `path`. The default is
    /// `~/.mixpanel_data/{project_id}.db`.
    #[must_use]
    pub fn path(mut self, path: impl Into<PathBuf>) -> WorkspaceBuilder {
        self.place = StorePlace::File(path.into());
        self
    }

    /// Opens the store at `path` only for reading: others may, too.
    #[must_use]
    pub fn read_only(mut self, path: impl Into<PathBuf>) -> WorkspaceBuilder {
        self.place = StorePlace::ReadOnly(path.into());
        self
    }

    /// Keeps the store in a temporary file that goes with the workspace.
    #[must_use]
    pub fn ephemeral(mut self) -> WorkspaceBuilder {
        self.place = StorePlace::Ephemeral;
        self
    }

    /// Sets the user's home, for the default path. The default is the
    /// process's.
    #[must_use]
    pub fn home(mut self, home: impl Into<PathBuf>) -> WorkspaceBuilder {
        self.connection.home = Some(home.into());
        self
    }

    /// Sets the folder for quota, locks, rejects and what can be resumed. The
    /// default is that of the command line.
    #[must_use]
    pub fn state_folder(mut self, folder: impl Into<PathBuf>) -> WorkspaceBuilder {
        self.connection.state = Some(folder.into());
        self
    }

    /// Checks what can be checked offline. Opens no file and asks nothing.
    ///
    /// Fails with [`ErrorKind::Config`] when a setting is missing or wrong.
    pub fn build(self) -> Result<Workspace> {
        let workspace = Workspace {
            connection: self.connection,
            place: self.place,
            store: OnceCell::new(),
        };
        // Whoever has no credentials may still use the store.
        if workspace.connection.secret.is_some() {
            let probe = Events::between("today", "today").overrides();
            let probe = with_sink(&probe, "stream");
            workspace.connection.pipeline(&stream::probe(), &probe)?;
        }
        Ok(workspace)
    }

    fn key(mut self, key: &str, value: OverrideValue) -> WorkspaceBuilder {
        let argument = format!("Workspace, {key}");
        self.connection
            .keys
            .push(Override::set(key, value, argument));
        self
    }
}

fn from_env(name: &str) -> OverrideValue {
    let name = OverrideValue::Text(name.to_owned());
    OverrideValue::Table(vec![("env".to_owned(), name)])
}

impl Workspace {
    /// Begins to collect settings.
    pub fn builder() -> WorkspaceBuilder {
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

    /// Returns the store; opens it with the first call, and makes it if it is
    /// not there.
    ///
    /// ```
    /// let workspace = mixflow::Workspace::builder().ephemeral().build()?;
    /// assert!(workspace.store()?.list_tables()?.is_empty());
    /// # Ok::<_, mixflow::Error>(())
    /// ```
    pub fn store(&self) -> Result<&Store> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let store = match &self.place {
            StorePlace::File(path) => Store::open(path)?,
            StorePlace::ReadOnly(path) => Store::open_read_only(path)?,
            StorePlace::Ephemeral => Store::ephemeral()?,
            StorePlace::Default => match (&self.connection.home, &self.connection.project_id) {
                (Some(home), Some(project)) => Store::open_default(home, project)?,
                _ => {
                    return Err(Error::new(
                        ErrorKind::Config,
                        "it is not known where the store is",
                    )
                    .hint("set `project_id`, or a `path`"));
                }
            },
        };
        Ok(self.store.get_or_init(|| store))
    }

    /// Fetches events into a table of the store.
    ///
    /// Nothing of it is visible unless the call succeeds. Fails with
    /// [`ErrorKind::Destination`] if the table is there (see
    /// [`Events::append`] and its like), with [`ErrorKind::Auth`] for wrong
    /// credentials, and otherwise as the command line does. With several
    /// workers, windows that could not be had are named by
    /// [`FetchResult::missing`], and the others are in the table.
    pub fn fetch_events(&self, events: &Events) -> Result<FetchResult> {
        self.fetch_events_with(events, &mut Silent, &CancelToken::never())
    }

    /// Fetches events, tells `observer` how it goes on, and stops when
    /// `cancel` is cancelled.
    ///
    /// ```
    /// use mixflow::core::cancel::cancellation;
    /// use mixflow::core::observer::RunEvent;
    /// use mixflow::{Events, Workspace};
    /// # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
    /// # let workspace = Workspace::builder().project_id("1").service_account("ann", "s3cret")
    /// #     .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests")).ephemeral().build()?;
    ///
    /// let (_stop, token) = cancellation(); // dropping `_stop` would stop the run
    /// let mut rows = 0;
    /// let mut observer = |event: &RunEvent<'_>| {
    ///     if let RunEvent::Progress(progress) = event {
    ///         rows = progress.rows;
    ///     }
    /// };
    /// let day = Events::between("2024-01-14", "2024-01-14");
    /// let fetched = workspace.fetch_events_with(&day, &mut observer, &token)?;
    /// assert_eq!(rows, fetched.row_count);
    /// # Ok::<_, mixflow::Error>(())
    /// ```
    pub fn fetch_events_with(
        &self,
        events: &Events,
        observer: &mut dyn Observer,
        cancel: &CancelToken,
    ) -> Result<FetchResult> {
        self.fetch(&events.overrides(), &events.sink, observer, cancel)
    }

    /// Fetches profiles into a table of the store, as
    /// [`fetch_events`](Workspace::fetch_events) does events.
    ///
    /// ```
    /// use mixflow::{Profiles, Workspace};
    /// # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
    /// # let workspace = Workspace::builder().project_id("1").service_account("ann", "s3cret")
    /// #     .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests")).set("limits.per_second", "1000").ephemeral().build()?;
    ///
    /// let fetched = workspace.fetch_profiles(&Profiles::all().workers(5))?;
    /// assert_eq!(fetched.row_count, 2_000);
    /// assert_eq!(fetched.from_date, None);
    /// # Ok::<_, mixflow::Error>(())
    /// ```
    pub fn fetch_profiles(&self, profiles: &Profiles) -> Result<FetchResult> {
        self.fetch_profiles_with(profiles, &mut Silent, &CancelToken::never())
    }

    /// Fetches profiles, tells `observer` how it goes on, and stops when
    /// `cancel` is cancelled.
    ///
    /// ```
    /// use mixflow::core::cancel::cancellation;
    /// use mixflow::core::observer::RunEvent;
    /// use mixflow::{Profiles, Workspace};
    /// # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
    /// # let workspace = Workspace::builder().project_id("1").service_account("ann", "s3cret")
    /// #     .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests")).set("limits.per_second", "1000").ephemeral().build()?;
    ///
    /// let (_stop, token) = cancellation();
    /// let mut pages = 0;
    /// let mut observer = |event: &RunEvent<'_>| {
    ///     pages += usize::from(matches!(event, RunEvent::PartitionDone { .. }));
    /// };
    /// workspace.fetch_profiles_with(&Profiles::all(), &mut observer, &token)?;
    /// assert_eq!(pages, 2);
    /// # Ok::<_, mixflow::Error>(())
    /// ```
    pub fn fetch_profiles_with(
        &self,
        profiles: &Profiles,
        observer: &mut dyn Observer,
        cancel: &CancelToken,
    ) -> Result<FetchResult> {
        self.fetch(&profiles.overrides(), &profiles.sink, observer, cancel)
    }

    fn fetch(
        &self,
        source: &[Override],
        sink: &DuckdbOptions,
        observer: &mut dyn Observer,
        cancel: &CancelToken,
    ) -> Result<FetchResult> {
        // Written through the store's own file: a process that opened it twice
        // would have two databases on one file.
        let sink = RefCell::new(Some(self.store()?.sink_with(sink.clone())?));
        let mut registry = sources();
        let doc = ComponentDoc {
            name: "store",
            about: "the workspace's store",
            options: &[],
        };
        registry.add_sink(doc, move |_: NoOptions, _| {
            let sink = sink
                .take()
                .expect("a pipeline is built once, with one sink");
            Ok(Box::new(sink) as Box<dyn Sink>)
        });
        let pipeline = self
            .connection
            .pipeline(&registry, &with_sink(source, "store"))?;
        let report = self.connection.run(&pipeline, observer, cancel);
        FetchResult::of(report)
    }

    /// Streams events, normalised, without a file.
    ///
    /// Blocks until the first event is there, so that wrong credentials and
    /// their like are an error here and not of the first item. Memory holds
    /// some 10,000 events. A stream that breaks off and cannot be had again
    /// ends with an error; one that ends without is whole.
    ///
    /// ```
    /// use mixflow::{Events, Workspace};
    /// # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
    /// # let workspace = Workspace::builder().project_id("1").service_account("ann", "s3cret")
    /// #     .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests")).build()?;
    ///
    /// let mut purchases = 0;
    /// for event in workspace.stream_events(&Events::between("2024-01-14", "2024-01-14"))? {
    ///     purchases += usize::from(event?.event_name == "purchase");
    /// }
    /// # Ok::<_, mixflow::Error>(())
    /// ```
    pub fn stream_events(&self, events: &Events) -> Result<Stream<Event>> {
        stream::stream(&self.connection, events.overrides(), false)
    }

    /// Streams events as Mixpanel sends them, byte for byte.
    ///
    /// ```
    /// use mixflow::{Events, Workspace};
    /// # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
    /// # let workspace = Workspace::builder().project_id("1").service_account("ann", "s3cret")
    /// #     .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests")).build()?;
    ///
    /// let day = Events::between("2024-01-14", "2024-01-14");
    /// let first = workspace.stream_raw_events(&day)?.next().expect("an event")?;
    /// assert!(first.as_bytes().starts_with(br#"{"event":"#));
    /// # Ok::<_, mixflow::Error>(())
    /// ```
    pub fn stream_raw_events(&self, events: &Events) -> Result<Stream<RawRecord>> {
        stream::stream(&self.connection, events.overrides(), true)
    }

    /// Streams profiles, normalised, without a file; as
    /// [`stream_events`](Workspace::stream_events) does events.
    ///
    /// ```
    /// use mixflow::{Profiles, Workspace};
    /// # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
    /// # let workspace = Workspace::builder().project_id("1").service_account("ann", "s3cret")
    /// #     .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests")).set("limits.per_second", "1000").build()?;
    ///
    /// let profiles = workspace.stream_profiles(&Profiles::all())?;
    /// assert_eq!(profiles.filter_map(Result::ok).count(), 2_000);
    /// # Ok::<_, mixflow::Error>(())
    /// ```
    pub fn stream_profiles(&self, profiles: &Profiles) -> Result<Stream<Profile>> {
        stream::stream(&self.connection, profiles.overrides(), false)
    }

    /// Streams profiles as Mixpanel sends them, with `$distinct_id` and
    /// `$properties`.
    ///
    /// ```
    /// use mixflow::{Profiles, Workspace};
    /// # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
    /// # let workspace = Workspace::builder().project_id("1").service_account("ann", "s3cret")
    /// #     .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests")).set("limits.per_second", "1000").ephemeral().build()?;
    ///
    /// let first = workspace.stream_raw_profiles(&Profiles::all())?.next().expect("a profile")?;
    /// let profile: serde_json::Value = first.json()?;
    /// assert!(profile["$distinct_id"].is_string());
    /// # Ok::<_, mixflow::Error>(())
    /// ```
    pub fn stream_raw_profiles(&self, profiles: &Profiles) -> Result<Stream<RawRecord>> {
        stream::stream(&self.connection, profiles.overrides(), true)
    }

    /// Makes a table of events from any iterator, in one transaction.
    ///
    /// Memory holds a batch of 2,000. `progress` hears the rows so far after
    /// each. Fails with [`ErrorKind::Destination`] if the table is there, and
    /// with the first error of the iterator, which says at which event; then
    /// the store is as it was.
    ///
    /// ```
    /// use mixflow::{Event, TableInput, Workspace};
    ///
    /// let line = r#"{"event_name":"Sign Up","event_time":"2024-01-01T12:00:00Z",
    ///     "distinct_id":"ann","insert_id":"1","properties":{"plan":"pro"}}"#;
    /// let event: Event = serde_json::from_str(line)?;
    ///
    /// let workspace = Workspace::builder().ephemeral().build()?;
    /// let input = TableInput::default();
    /// workspace.create_events_table("events", [Ok(event)], &input, |rows| {
    ///     println!("{rows} so far");
    /// })?;
    /// let plan: String = workspace.store()?.scalar("SELECT properties->>'plan' FROM events")?;
    /// assert_eq!(plan, "pro");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_events_table(
        &self,
        table: &str,
        events: impl IntoIterator<Item = Result<Event>>,
        input: &TableInput,
        progress: impl FnMut(u64),
    ) -> Result<CommitSummary> {
        let batches = records::batches("event", events.into_iter(), records::event_batch);
        self.create("events", table, &schema::events(), batches, input, progress)
    }

    /// Makes a table of profiles from any iterator, as
    /// [`create_events_table`](Workspace::create_events_table) does of events.
    ///
    /// ```
    /// use mixflow::{Profile, TableInput, Workspace};
    ///
    /// let line = r#"{"distinct_id":"ann","last_seen":null,"properties":{"plan":"pro"}}"#;
    /// let profile: Profile = serde_json::from_str(line)?;
    /// let workspace = Workspace::builder().ephemeral().build()?;
    /// let made = workspace.create_profiles_table("people", [Ok(profile)], &TableInput::default(), |_| ())?;
    /// assert_eq!(made.rows, 1);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_profiles_table(
        &self,
        table: &str,
        profiles: impl IntoIterator<Item = Result<Profile>>,
        input: &TableInput,
        progress: impl FnMut(u64),
    ) -> Result<CommitSummary> {
        let batches = records::batches("profile", profiles.into_iter(), records::profile_batch);
        self.create(
            "profiles",
            table,
            &schema::profiles(),
            batches,
            input,
            progress,
        )
    }

    fn create(
        &self,
        data_type: &str,
        table: &str,
        schema: &arrow::datatypes::SchemaRef,
        batches: impl Iterator<Item = Result<RecordBatch>>,
        input: &TableInput,
        progress: impl FnMut(u64),
    ) -> Result<CommitSummary> {
        let mut input = input.clone();
        if input.data_type.is_empty() {
            data_type.clone_into(&mut input.data_type);
        }
        let store = self.store()?;
        store.create_table(table, &input, schema, batches, progress)
    }
}

/// A sink that takes no options.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

/// Returns the sources, for pipelines whose sink is made here.
fn sources() -> Registry {
    let mut registry = Registry::empty();
    mixflow_transforms::register(&mut registry);
    mixflow_source_mixpanel::register(&mut registry);
    registry
}

fn with_sink(source: &[Override], sink: &str) -> Vec<Override> {
    let sink = OverrideValue::Text(sink.to_owned());
    let sink = Override::set("sink.type", sink, "Workspace".to_owned());
    source.iter().cloned().chain([sink]).collect()
}

impl Connection {
    /// Builds a pipeline. Makes no I/O.
    fn pipeline(&self, registry: &Registry, changes: &[Override]) -> Result<Pipeline> {
        let secret = self.secret.clone();
        let env = Env::new(move |name| match name {
            SECRET => secret.as_ref().map(|secret| secret.expose().to_owned()),
            _ => None,
        });
        let cx = BuildContext {
            env: env.clone(),
            home: self.home.clone(),
            state: self.state.clone(),
            ..BuildContext::new(Timestamp::now())
        };
        let changes: Vec<Override> = self.keys.iter().chain(changes).cloned().collect();
        let document = Document::parse("the workspace", "", &env, &changes);
        build(document, "workspace", registry, &cx).map_err(|problems: Problems| {
            let texts = problems.list.iter();
            let texts = texts.map(|problem| format!("`{}`: {}", problem.path, problem.message));
            Error::new(ErrorKind::Config, "the settings are wrong")
                .because(texts.collect::<Vec<_>>().join("; "))
        })
    }

    fn run(
        &self,
        pipeline: &Pipeline,
        observer: &mut dyn Observer,
        cancel: &CancelToken,
    ) -> RunReport {
        let launch = Launch {
            state: self.state.clone(),
            ..Launch::default()
        };
        launch.run(pipeline, observer, cancel)
    }
}

/// What a fetch did.
#[derive(Debug)]
pub struct FetchResult {
    /// The table that the rows are in.
    pub table: String,
    /// Rows that this fetch added.
    pub row_count: u64,
    /// `events` or `profiles`.
    pub data_type: String,
    /// The time it took.
    pub duration: Duration,
    /// The first day that was asked for, inclusive; none for profiles.
    pub from_date: Option<String>,
    /// The last day that was asked for, inclusive; none for profiles.
    pub to_date: Option<String>,
    /// When it ended, RFC 3339.
    pub completed_at: String,
    /// Everything that is known of the run.
    pub report: RunReport,
}

impl FetchResult {
    fn of(mut report: RunReport) -> Result<FetchResult> {
        if report.status == Status::Aborted
            && let Some(error) = report.error.take()
        {
            return Err(error);
        }
        Ok(FetchResult {
            table: report.table.clone().unwrap_or_default(),
            row_count: report.row_count,
            data_type: report.data_type.to_string(),
            duration: Duration::from_secs_f64(report.duration_seconds),
            from_date: report.from_date.map(|day| day.to_string()),
            to_date: report.to_date.map(|day| day.to_string()),
            completed_at: report.completed_at.to_string(),
            report,
        })
    }

    /// Returns the labels of the windows or pages that could not be had.
    pub fn missing(&self) -> &[String] {
        &self.report.failed_partitions
    }
}
