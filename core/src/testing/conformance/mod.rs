//! What every sink must do, as a function that its tests call.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use mixflow_core::sink::{Sink, WriteMode};
//! use mixflow_core::testing::{Cells, SinkUnderTest, sink_conformance};
//!
//! struct MySink;
//!
//! impl SinkUnderTest for MySink {
//!     fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
//!         todo!("the sink that writes to `place`, or none if it has no such mode")
//!     }
//!     fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
//!         todo!("what is visible at `place`")
//!     }
//! }
//!
//! sink_conformance(&MySink);
//! ```

mod case;
mod checks;
#[cfg(test)]
mod elsewhere;
mod rows;
mod summary;
mod under_test;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};

use case::{Case, Checked};

pub use rows::cells_of;
pub use summary::Conformance;
pub use under_test::{Cells, SinkUnderTest};

/// Checks that a sink keeps the contract of [`Sink`](crate::sink::Sink) and
/// [`SinkTxn`](crate::sink::SinkTxn). Panics with a list of what it does not.
///
/// Each check has a folder of its own. Where the sink has no mode that a check
/// needs, the check is skipped.
pub fn sink_conformance(under_test: &dyn SinkUnderTest) -> Conformance {
    let mut report = Conformance::default();
    let mut breaches = Vec::new();
    for (name, check) in checks::ALL {
        let case = Case::new(under_test);
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&case, &mut report)));
        match outcome {
            Ok(Ok(Checked::Passed)) => report.passed.push(name),
            Ok(Ok(Checked::Skipped)) => report.skipped.push(name),
            Ok(Err(breach)) => breaches.push(format!("{name}: {breach}")),
            Err(payload) => {
                let error = crate::Error::panicked("it", &*payload);
                breaches.push(format!("{name}: {error}: {}", error.causes().join(": ")));
            }
        }
    }
    if report.passed.is_empty() && breaches.is_empty() {
        breaches.push("the sink has no mode at all".to_owned());
    }
    assert!(
        breaches.is_empty(),
        "the sink breaks its contract:\n- {}",
        breaches.join("\n- ")
    );
    report
}
