//! The Mixpanel simulator that mixflow is tested against.
//!
//! [`sim`] is a small HTTP server on the loopback interface. It answers the
//! export and engage endpoints as Mixpanel does, misbehaves on request, keeps
//! a log of what it was asked, and tells a test which rows it should have
//! received. Nothing in it is shared with mixflow: the rules are written down
//! twice so that one mistake does not hide itself.
//!
//! The same server runs by hand:
//!
//! ```text
//! cargo run -p mixflow-tests --bin mixpanel-sim -- --port 8080
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test stops at the first surprise")
)]

#[cfg(unix)]
pub mod databases;
pub mod sim;
