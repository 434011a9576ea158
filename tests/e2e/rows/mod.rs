//! Rows on their way: what comes out is what went in, as the model says.

mod auto;
pub mod form;
mod normalising;
mod sample;
mod transforms;
