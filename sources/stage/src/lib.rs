//! The stage: a folder or bucket where the machines that read the units of a plan
//! put what they read, and from where one run commits it.
//!
//! ```text
//! STAGE/
//!   PLAN/                      a plan's id
//!     parts/KEY-RANDOM.parquet   the rows of a unit
//!     receipts/KEY.json          which part counts, and all that is known of it
//!     commit.json                which units have been committed, and where
//!   probed                     the service has been tried
//!   quota/ENDPOINT/HOUR/N      a request that was made in that hour
//! ```
//!
//! A receipt is made only where there is none, so of two machines that read the
//! same unit one leaves it, and its part is the one that counts. Nothing else
//! tells machines of each other: there is no server.

#![forbid(unsafe_code)]

mod part;
mod receipt;
mod sink;
mod slots;
mod source;
mod stage;

pub use receipt::{Committed, Part, Receipt};
pub use sink::{Left, PartSink};
pub use slots::StageSlots;
pub use source::{StageSource, Staged};
pub use stage::Stage;
