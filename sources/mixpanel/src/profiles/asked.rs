//! Which page is asked for.

/// Which page is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) number: u64,
    /// The snapshot's; without it a new snapshot begins.
    pub(super) session_id: Option<&'a str>,
    /// How many profiles it has, if the total is right.
    pub(super) announced: u64,
    /// The time of `behaviors`, the same for all pages of a snapshot.
    pub(super) as_of: Option<i64>,
}
