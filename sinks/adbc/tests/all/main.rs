//! The sink against real databases.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(unreachable_pub, reason = "nothing outside uses a test")]
#![cfg(unix)]

mod conformance;
mod files;
mod postgres;
mod rows;
mod support;
