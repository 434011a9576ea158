//! JSON as the decoder needs it: checked, found in place, and never a tree.
//!
//! - [`scan`]: the scanner, which reads a record once.
//! - [`escapes`]: what a string's escapes stand for.
//! - [`keys`]: whether an object may have a key twice.
//! - [`mend`]: the slow way, for records of which that is so.
//!
//! `tests/bench/instructions.sh` counts the instructions that a record takes;
//! it runs `examples/decode.rs` over the sample of 8,000 events.

pub(crate) mod escapes;
pub(crate) mod keys;
pub(crate) mod mend;
pub(crate) mod scan;
