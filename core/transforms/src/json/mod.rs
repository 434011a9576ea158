//! JSON texts, as far as transforms look into them.
//!
//! A value is looked at where it stands: what is not asked for is skipped, not
//! parsed, so that depth costs no stack and every number keeps its digits.
//! Of keys that an object has twice the last one counts, as in JavaScript,
//! Python and mixflow's own decoder.

mod edit;
mod keys;
mod path;
mod text;
mod tree;
mod value;

pub(super) use edit::Edit;
pub(super) use keys::Keys;
pub(super) use path::JsonPath;
pub use path::PathText;
pub(super) use text::quote;
pub(super) use tree::{Finder, Paths, members};
pub(super) use value::JsonValue;
