//! What the decoder does with records that [`mixflow_core::json`], which reads each
//! once, gives back.
//!
//! - [`mend`]: those that may have a key twice.
//! - [`repair`]: those whose bytes are no JSON.
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

pub(crate) mod mend;
pub(crate) mod repair;
