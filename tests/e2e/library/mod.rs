//! Programs that use mixflow as a library.

mod stores;
