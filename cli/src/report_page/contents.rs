//! What goes onto a page.

use mixflow_core::report::RunReport;

use super::days::Held;
use super::repaired::Repairs;

/// What a page is about.
pub(crate) struct Contents<'r> {
    /// The runs that are shown whole.
    pub(crate) shown: Vec<&'r RunReport>,
    /// Whether these are the last runs of all pipelines.
    pub(crate) is_of_all: bool,
    /// What the destinations of their pipelines hold now.
    pub(crate) held: Vec<Held>,
    /// The history, the run that ended first first.
    pub(crate) all: &'r [RunReport],
    /// Which of these a later one has made up for.
    pub(crate) repairs: Repairs,
}
