//! Requests that several machines share.

use std::fmt;
use std::time::Duration;

use crate::error::Result;

/// Hands out what a server allows in an hour to machines that know nothing of each
/// other.
pub trait RequestSlots: fmt::Debug + Send + Sync {
    /// Takes one of the `per_hour` slots of an endpoint, for one request.
    ///
    /// `endpoint` is safe in a path. Fails when whoever keeps the slots cannot be
    /// asked; then the request is not to be made.
    fn take(&self, endpoint: &str, per_hour: u32) -> Result<Taken>;

    /// Gives a slot back whose request reached no server.
    fn give_back(&self, slot: &str);
}

/// What came of asking for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The slot's name.
    Slot(String),
    /// There is none; one may be free after this.
    None(Duration),
}
