//! Programs that use mixflow as a library.

mod requests;
mod stores;
