//! What is only HTTP: requests, their limits, and bodies until they are whole.
//!
//! Nothing here knows what a record is. From the request to the lines of its
//! answer:
//!
//! - [`client`]: requests to one [`endpoint`] of one project. [`answer`] says what
//!   comes of each status, and [`shown`] how much of it people may read;
//!   [`connector`] and [`proxy`] are its transports, [`retry`] is the policy for
//!   trying again, and [`quota`] says whether a request may be made now.
//!   [`question`] is a request that is made to learn whether others would do.
//! - [`body`]: an answer's bytes, checked by [`tail`] while they come in, on a thread
//!   of its own ([`checking`]) if they are many, whose end [`last_line`] judges. [`store`] is where they are until they are read,
//!   and [`checkpoint`] where the next run finds them after a crash. [`joined`]
//!   makes one of several.
//! - [`lines`]: the lines of a body. [`room`] bounds the memory of long ones, and
//!   [`loan`] that of what waits there for want of a disk, or is decoded early.

mod answer;
pub(crate) mod body;
mod checking;
pub(crate) mod checkpoint;
pub(crate) mod client;
mod connector;
pub(crate) mod encoding;
pub(crate) mod endpoint;
pub(crate) mod hashing;
pub(crate) mod joined;
pub(crate) mod last_line;
pub(crate) mod lines;
pub(crate) mod loan;
mod proxy;
pub(crate) mod question;
pub mod quota;
pub mod retry;
pub(crate) mod room;
mod shown;
pub(crate) mod store;
pub(crate) mod sum;
pub(crate) mod tail;
