//! The archive: whole bodies as they came, kept until they are pruned.
//!
//! A body is a file that anything reads (`zcat`), and beside it stands what is
//! known of it, its hashes above all:
//!
//! ```text
//! archive/12345/events/2024-01-01/5b05…1ec2-20240103T020000.123Z.jsonl.gz
//! archive/12345/events/2024-01-01/5b05…1ec2-20240103T020000.123Z.json
//! ```
//!
//! The folder is all there is: an archive that is copied to another machine is
//! an archive there. Nothing here knows whose bodies these are, nor what is in
//! them.
//!
//! - [`Archive`] is the folder; [`Archive::keep`] adds a body, whole or not at
//!   all, and [`Archive::kept`] lists what is there.
//! - [`choose`] says which body has the newest rows of each day.
//! - [`Archive::verify`] compares every byte with the hashes, and
//!   [`Archive::prune`] removes old days.

#![forbid(unsafe_code)]

mod archive;
mod choose;
mod hash;
mod keep;
mod kept;
mod name;
mod note;
mod prune;
mod remote;
#[cfg(test)]
mod remote_tests;
mod staging;
#[cfg(test)]
mod tests;
mod verify;

pub use archive::Archive;
pub use choose::{Piece, choose};
pub use hash::{Hash, Hasher};
pub use keep::{Content, NewBody};
pub use kept::{Flaw, Kept};
pub use note::{Facts, Note};
pub use prune::Pruned;
pub use verify::{Difference, Verdict};
