//! Tables from records that a program has.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use mixflow_core::Result;
use mixflow_core::sink::CommitSummary;
use mixflow_sink_duckdb::TableInput;
use mixflow_source_mixpanel::schema;

use super::{Event, Profile, Workspace, records};

impl Workspace {
    /// Makes a table of events from any iterator, in one transaction.
    ///
    /// Memory holds a batch of 2,000. `progress` hears the rows so far after
    /// each. Fails with
    /// [`ErrorKind::TableExists`](crate::ErrorKind::TableExists) if the table is there, and
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
        schema: &SchemaRef,
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
