//! What was looked at.

/// What [`sink_conformance`] has looked at.
///
/// A test that names what it expects to be skipped notices when a mode that
/// the sink has is not tested any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conformance {
    /// The checks that passed.
    pub passed: Vec<&'static str>,
    /// The checks for which the sink lacks a mode.
    pub skipped: Vec<&'static str>,
    /// The types of columns that the sink refuses.
    pub refused_types: Vec<String>,
}
