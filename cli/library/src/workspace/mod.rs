//! mixflow as a library: fetch into a store, stream, ask.

mod builder;
mod connection;
mod create;
mod fetched;
mod pipe;
mod place;
mod project;
mod records;
mod request;
mod settings;
mod step;
mod stream;
mod target;

use arrow::array::RecordBatch;
use mixflow_core::Result;
use mixflow_core::cancel::CancelToken;
use mixflow_core::engine::Pipeline;
use mixflow_core::observer::{Observer, Silent};
use mixflow_core::report::RunReport;
use mixflow_sink_duckdb::Store;

pub use builder::WorkspaceBuilder;
pub use fetched::FetchResult;
pub use records::{Event, Profile, RawRecord};
pub use request::{Events, Profiles, Request};
pub use step::Step;
pub use stream::Stream;
pub use target::Target;

use connection::Connection;
use place::{Shelf, StorePlace};
use stream::stream;

/// A project of Mixpanel's and a store for what comes from it.
///
/// Threads may share it. Two fetches into the same database take turns: the
/// second one fails with [`ErrorKind::Locked`](crate::ErrorKind::Locked), or
/// waits if it is told to ([`Events::wait`]).
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
/// workspace.close()?;
/// # Ok::<_, mixflow::Error>(())
/// ```
#[derive(Debug)]
pub struct Workspace {
    connection: Connection,
    shelf: Shelf,
}

/// Threads may share a workspace, and a stream may move to another one.
const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    fn is_sent<T: Send>() {}
    is_shared::<Workspace>();
    is_shared::<WorkspaceBuilder>();
    is_shared::<Request>();
    is_sent::<Stream<Event>>();
    is_sent::<Store>();
};

impl Workspace {
    fn new(connection: Connection, place: StorePlace) -> Workspace {
        Workspace {
            connection,
            shelf: Shelf::new(place),
        }
    }

    /// Begins to collect settings.
    pub fn builder() -> WorkspaceBuilder {
        WorkspaceBuilder::new()
    }

    /// Returns a connection to the store; opens it with the first call, and
    /// makes it if it is not there.
    ///
    /// The file stays open until the workspace and every connection are gone.
    /// Fails as [`Store::open`] and its like do, and with
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if it is not known where
    /// the store is.
    ///
    /// ```
    /// let workspace = mixflow::Workspace::builder().ephemeral().build()?;
    /// assert!(workspace.store()?.list_tables()?.is_empty());
    /// # Ok::<_, mixflow::Error>(())
    /// ```
    pub fn store(&self) -> Result<Store> {
        let home = self.connection.home.as_deref();
        self.shelf.store(home, self.connection.project.id())
    }

    /// Closes the store, and removes it if it is ephemeral.
    ///
    /// Dropping a workspace does the same, but cannot say that it went wrong.
    /// Fails as [`Store::close`] does, and with
    /// [`ErrorKind::Locked`](crate::ErrorKind::Locked) if a connection that
    /// [`store`](Workspace::store) has returned keeps an ephemeral one from
    /// being removed.
    pub fn close(self) -> Result<()> {
        self.shelf.close()
    }

    /// Fetches events into a table of the store.
    ///
    /// Nothing of it is visible unless the call succeeds. Fails with
    /// [`ErrorKind::TableExists`](crate::ErrorKind::TableExists) if the table is
    /// there (see [`Events::append`] and its like), with
    /// [`ErrorKind::Auth`](crate::ErrorKind::Auth) for wrong credentials, and
    /// otherwise as the command line does. With several workers, windows that
    /// could not be had are named by [`FetchResult::missing`], and the others
    /// are in the table.
    pub fn fetch_events(&self, events: &Events) -> Result<FetchResult> {
        self.fetch_events_with(events, &mut Silent, &CancelToken::never())
    }

    /// Fetches events, tells `observer` how it goes on, and stops when
    /// `cancel` is cancelled.
    ///
    /// Fails as [`fetch_events`](Workspace::fetch_events) does, and with
    /// [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted) when it is stopped.
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
        self.fetch(events.into(), observer, cancel)
    }

    /// Fetches profiles into a table of the store, as
    /// [`fetch_events`](Workspace::fetch_events) does events.
    ///
    /// Fails as [`fetch_events`](Workspace::fetch_events) does.
    ///
    /// ```
    /// use mixflow::{Profiles, Workspace};
    /// # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
    /// # let workspace = Workspace::builder().project_id("1").service_account("ann", "s3cret")
    /// #     .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests")).limits(mixflow::LimitOptions { per_second: Some(1_000), ..Default::default() }).ephemeral().build()?;
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
    /// Fails as [`fetch_events_with`](Workspace::fetch_events_with) does.
    ///
    /// ```
    /// use mixflow::core::cancel::cancellation;
    /// use mixflow::core::observer::RunEvent;
    /// use mixflow::{Profiles, Workspace};
    /// # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
    /// # let workspace = Workspace::builder().project_id("1").service_account("ann", "s3cret")
    /// #     .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests")).limits(mixflow::LimitOptions { per_second: Some(1_000), ..Default::default() }).ephemeral().build()?;
    ///
    /// let (_stop, token) = cancellation();
    /// let mut pages = 0;
    /// let mut observer = |event: &RunEvent<'_>| {
    ///     pages += usize::from(matches!(event, RunEvent::PartitionDone { .. }));
    /// };
    /// workspace.fetch_profiles_with(&Profiles::all(), &mut observer, &token)?;
    /// // The last one is empty, which proves that it is the end.
    /// assert_eq!(pages, 3);
    /// # Ok::<_, mixflow::Error>(())
    /// ```
    pub fn fetch_profiles_with(
        &self,
        profiles: &Profiles,
        observer: &mut dyn Observer,
        cancel: &CancelToken,
    ) -> Result<FetchResult> {
        self.fetch(profiles.into(), observer, cancel)
    }

    fn fetch(
        &self,
        request: Request,
        observer: &mut dyn Observer,
        cancel: &CancelToken,
    ) -> Result<FetchResult> {
        // Written through the store's own file: a process that opened it twice
        // would have two databases on one file.
        let sink = self.store()?.sink_with(request.settings.sink.clone())?;
        let pipeline = self
            .connection
            .pipeline(&request, Target::new("store", sink))?;
        let report = self.connection.run(&request, &pipeline, observer, cancel);
        report.try_into()
    }

    /// Runs a request into any sink, and returns the report, however it ends.
    ///
    /// Fails with [`ErrorKind::Config`](crate::ErrorKind::Config) if the
    /// settings are wrong or do not fit the sink; then nothing was attempted.
    /// `FetchResult::try_from(report)` turns a run that was aborted into its
    /// error.
    ///
    /// ```
    /// use mixflow::core::cancel::CancelToken;
    /// use mixflow::core::observer::Silent;
    /// use mixflow::sinks::JsonlOptions;
    /// use mixflow::{Events, Workspace};
    /// # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
    /// # let workspace = Workspace::builder().project_id("1").service_account("ann", "s3cret")
    /// #     .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests")).build()?;
    /// # let folder = std::env::temp_dir().join(format!("mixflow-run-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let path = folder.join("day.jsonl");
    ///
    /// let file = JsonlOptions {
    ///     path: Some(path),
    ///     ..JsonlOptions::default()
    /// };
    /// let day = Events::between("2024-01-14", "2024-01-14");
    /// let report = workspace.run(&day, file, &mut Silent, &CancelToken::never())?;
    /// assert_eq!((report.sink.as_str(), report.rejected), ("jsonl", 0));
    /// # std::fs::remove_dir_all(folder).unwrap();
    /// # Ok::<_, mixflow::Error>(())
    /// ```
    pub fn run(
        &self,
        request: impl Into<Request>,
        target: impl Into<Target>,
        observer: &mut dyn Observer,
        cancel: &CancelToken,
    ) -> Result<RunReport> {
        let request = request.into();
        let pipeline = self.connection.pipeline(&request, target.into())?;
        Ok(self.connection.run(&request, &pipeline, observer, cancel))
    }

    /// Puts the pipeline of a request together, such as to look at its
    /// [`outline`](mixflow_core::source::Source::outline) or to
    /// [`preview`](mixflow_core::engine::preview) it. Makes no I/O.
    ///
    /// Fails as [`run`](Workspace::run) does.
    pub fn pipeline(
        &self,
        request: impl Into<Request>,
        target: impl Into<Target>,
    ) -> Result<Pipeline> {
        self.connection.pipeline(&request.into(), target.into())
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
        self.stream(events, records::EVENT)
    }

    /// Streams events, tells `observer` how it goes on, and ends with an error
    /// when `cancel` is cancelled.
    ///
    /// Fails as [`stream_events`](Workspace::stream_events) does.
    pub fn stream_events_with(
        &self,
        events: &Events,
        observer: impl Observer + Send + 'static,
        cancel: &CancelToken,
    ) -> Result<Stream<Event>> {
        stream(
            &self.connection,
            events.into(),
            records::EVENT,
            observer,
            cancel,
        )
    }

    /// Streams events as Mixpanel sends them, byte for byte.
    ///
    /// Fails as [`stream_events`](Workspace::stream_events) does.
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
        self.stream(events, records::RAW)
    }

    /// Streams profiles, normalised, without a file; as
    /// [`stream_events`](Workspace::stream_events) does events.
    ///
    /// Fails as [`stream_events`](Workspace::stream_events) does.
    ///
    /// ```
    /// use mixflow::{Profiles, Workspace};
    /// # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
    /// # let workspace = Workspace::builder().project_id("1").service_account("ann", "s3cret")
    /// #     .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests")).limits(mixflow::LimitOptions { per_second: Some(1_000), ..Default::default() }).build()?;
    ///
    /// let profiles = workspace.stream_profiles(&Profiles::all())?;
    /// assert_eq!(profiles.filter_map(Result::ok).count(), 2_000);
    /// # Ok::<_, mixflow::Error>(())
    /// ```
    pub fn stream_profiles(&self, profiles: &Profiles) -> Result<Stream<Profile>> {
        self.stream(profiles, records::PROFILE)
    }

    /// Streams profiles as
    /// [`stream_events_with`](Workspace::stream_events_with) does events, and
    /// fails as it does.
    pub fn stream_profiles_with(
        &self,
        profiles: &Profiles,
        observer: impl Observer + Send + 'static,
        cancel: &CancelToken,
    ) -> Result<Stream<Profile>> {
        stream(
            &self.connection,
            profiles.into(),
            records::PROFILE,
            observer,
            cancel,
        )
    }

    /// Streams profiles as Mixpanel sends them, with `$distinct_id` and
    /// `$properties`.
    ///
    /// Fails as [`stream_events`](Workspace::stream_events) does.
    ///
    /// ```
    /// use mixflow::{Profiles, Workspace};
    /// # let sim = mixflow_tests::sim::Simulator::builder().data(mixflow_tests::sim::Data::sample()).credentials("ann", "s3cret").start().unwrap();
    /// # let workspace = Workspace::builder().project_id("1").service_account("ann", "s3cret")
    /// #     .base_url(sim.base_url()).state_folder(std::env::temp_dir().join("mixflow-doctests")).limits(mixflow::LimitOptions { per_second: Some(1_000), ..Default::default() }).ephemeral().build()?;
    ///
    /// let first = workspace.stream_raw_profiles(&Profiles::all())?.next().expect("a profile")?;
    /// let profile: serde_json::Value = first.json()?;
    /// assert!(profile["$distinct_id"].is_string());
    /// # Ok::<_, mixflow::Error>(())
    /// ```
    pub fn stream_raw_profiles(&self, profiles: &Profiles) -> Result<Stream<RawRecord>> {
        self.stream(profiles, records::RAW)
    }

    /// Streams rows of either sort in Arrow batches, with whatever columns the
    /// transforms of the request leave.
    ///
    /// Fails as [`stream_events`](Workspace::stream_events) does.
    pub fn stream_batches(&self, request: impl Into<Request>) -> Result<Stream<RecordBatch>> {
        self.stream(request, records::BATCH)
    }

    fn stream<T>(&self, request: impl Into<Request>, item: records::Item<T>) -> Result<Stream<T>> {
        let never = CancelToken::never();
        stream(&self.connection, request.into(), item, Silent, &never)
    }
}
