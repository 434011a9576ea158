//! JSON as the decoder needs it: checked, found in place, and never a tree.
//!
//! - [`scan`]: the scanner, which reads a record once.
//! - [`keys`]: whether an object may have a key twice.
//! - [`mend`]: the slow way, for records of which that is so.
//! - [`repair`]: the slow way, for records whose bytes are no JSON.
//!
//! What escapes stand for is [`mixflow_core::json`], which transforms and
//! sinks need, too.
//!
//! This is the hot path of every run. Its benchmark counts instructions, which
//! are the same on every machine however busy it is, for the sample of 8,000
//! events, and fails when they have become more:
//!
//! ```text
//! tests/bench/instructions.sh
//! ```
//!
//! It runs `sources/mixpanel/examples/decode.rs`, which by itself is there for
//! profilers.

pub(crate) mod keys;
pub(crate) mod mend;
pub(crate) mod repair;
pub(crate) mod scan;
