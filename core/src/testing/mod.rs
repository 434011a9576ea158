//! Test doubles: sources and sinks named by what goes wrong with them.
//!
//! A [`TestSource`] is a list of [`TestPartition`]s, a [`TestSink`] keeps a
//! [`Log`] of what it was asked to do, a [`Gate`] holds either of them until
//! the test says so, and a [`Recorder`] keeps what an observer hears. Nothing
//! here sleeps.
//!
//! ```
//! use mixflow_core::report::Status;
//! use mixflow_core::testing::{TestSink, TestSource, failing_at, good, pipeline, run};
//!
//! let sink = TestSink::recording();
//! let log = sink.log();
//! let report = run(&pipeline(TestSource::new([good(3), failing_at(0)]), sink));
//! assert_eq!(report.status, Status::Aborted);
//! assert_eq!(log.lock().expect("no panic").visible, []);
//! ```

mod conformance;
mod contexts;
mod docs;
mod files;
mod gate;
mod hours;
mod observer;
mod run;
mod sink;
mod source;

pub use conformance::{Cells, Conformance, SinkUnderTest, cells_of, sink_conformance};
pub use contexts::{Counted, counted, run_context, unit_context};
pub use docs::{assert_described, assert_table_described};
pub use files::{built_library, names_in};
pub use gate::Gate;
pub use hours::{HOUR_US, fetched_hours, hour_columns, hour_fields, made_up_events};
pub use observer::{RecordedEvent, Recorder};
pub use run::{pipeline, pipeline_into, run, run_with, test_setup};
pub use sink::{At, Log, TestSink};
pub use source::{
    Row, TestPartition, TestSource, failing_at, good, panicking_at, rows_of, short, slow,
};
