//! What the streams of a project have in common.

use jiff::civil::Date;
use mixflow_core::context::RunContext;
use mixflow_core::error::Result;
use mixflow_core::ledger::Held;
use mixflow_core::source::{Outline, Session, SourceInfo};
use mixflow_source_archive::Archive;

use crate::decode::Form;
use crate::http::client::{Client, Request};
use crate::project::Project;

/// Something small to ask for.
pub(crate) struct Question {
    pub(crate) request: Request,
    pub(crate) label: String,
    /// The day that it is about.
    pub(crate) day: Option<Date>,
}

/// One kind of data that a project has: its requests and its type of record.
///
/// A recipe: what a run remembers is in the session.
pub(crate) trait Stream: std::fmt::Debug + Send + Sync {
    /// Returns its type of record, and in which form records are given out.
    fn form(&self) -> &Form;

    /// Says which data of the project it is. What the project knows better is
    /// left out.
    fn info(&self) -> SourceInfo;

    /// Returns whether fewer records than the server announces are no failure.
    fn accepts_short(&self) -> bool;

    /// Describes its requests without making one, as they are for a destination
    /// that holds `held`.
    fn outline(&self, project: &Project, held: &Held) -> Outline;

    /// Returns what is asked to learn whether a run could read, the first one
    /// first: another one for when the day of it has not come yet.
    fn questions(&self) -> Vec<Question>;

    /// Begins a run.
    fn session(&self, project: &Project, client: Client, cx: &RunContext) -> Box<dyn Session>;

    /// Begins a run that reads what others have kept. `what` says which data it
    /// is.
    fn replay(&self, archive: &Archive, what: &str, cx: &RunContext) -> Result<Box<dyn Session>>;
}
