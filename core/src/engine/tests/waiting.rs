//! A destination that somebody else has.

use std::cell::Cell;
use std::time::Duration;

use super::*;
use crate::sink::{Capabilities, DataKind, Destination, Preview, Sink, SinkTxn};
use crate::testing::{good, test_setup};

/// A sink that somebody else has for some calls: of `begin`, or, where
/// `at_start`, of `preview` first.
struct Busy {
    sink: TestSink,
    refusals: Cell<u32>,
    at_start: bool,
}

impl Sink for Busy {
    fn capabilities(&self) -> Capabilities {
        self.sink.capabilities()
    }

    fn destination(&self, kind: &DataKind) -> Destination {
        self.sink.destination(kind)
    }

    fn check_schema(&self, schema: &arrow::datatypes::Schema) -> Result<()> {
        self.sink.check_schema(schema)
    }

    fn preview(&self, cx: &TxnContext) -> Result<Preview> {
        if self.at_start {
            self.refuse()?;
        }
        self.sink.preview(cx)
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        self.refuse()?;
        self.sink.begin(cx)
    }
}

impl Busy {
    fn refuse(&self) -> Result<()> {
        let refusals = self.refusals.get();
        if refusals == 0 {
            return Ok(());
        }
        self.refusals.set(refusals - 1);
        Err(Error::new(ErrorKind::Destination, "somebody has it").busy())
    }
}

/// Runs one row into a sink that is busy for `refusals` calls.
fn run_busy(refusals: u32, patience: Duration, cancel: CancelToken) -> (RunReport, Log) {
    let sink = TestSink::recording();
    let log = sink.log();
    let mut pipeline = pipeline(TestSource::new([good(1)]), TestSink::recording());
    let busy = Busy {
        sink,
        refusals: Cell::new(refusals),
        at_start: false,
    };
    pipeline.sinks = Sinks::one("busy", Box::new(busy));
    let mut observer = crate::observer::Silent;
    let cx = RunSetup {
        patience,
        ..test_setup(cancel, &mut observer)
    };
    let report = super::super::run(&pipeline, cx);
    (report, seen(&log))
}

#[test]
fn a_run_waits_for_its_destination() {
    let (report, log) = run_busy(2, Duration::from_secs(3600), CancelToken::never());
    assert_eq!((report.status, log.visible.len()), (Status::Committed, 1));
    assert_eq!(report.warnings, ["somebody has it; the run waits for it"]);
}

#[test]
fn a_run_waits_for_its_destination_only_so_long() {
    let (report, log) = run_busy(u32::MAX, Duration::from_millis(1), CancelToken::never());
    assert_eq!(report.error_kind(), Some(ErrorKind::Destination));
    assert_eq!(log.visible.len(), 0);
    let (report, _) = run_busy(1, Duration::ZERO, CancelToken::never());
    assert_eq!(report.error_kind(), Some(ErrorKind::Destination));
}

#[test]
fn a_run_that_waits_for_its_destination_is_interrupted() {
    let (guard, token) = crate::cancel::cancellation();
    let waits = std::thread::spawn(move || run_busy(u32::MAX, Duration::MAX, token).0.error_kind());
    drop(guard);
    let kind = waits.join().expect("no panic");
    assert_eq!(kind, Some(ErrorKind::Interrupted));
}

#[test]
fn a_run_that_is_told_to_waits_for_its_destination_at_the_start() {
    for (patience_at_start, status) in [
        (Duration::from_secs(3600), Status::Committed),
        (Duration::ZERO, Status::Aborted),
    ] {
        let mut pipeline = pipeline(TestSource::new([good(1)]), TestSink::recording());
        let busy = Busy {
            sink: TestSink::recording(),
            refusals: Cell::new(2),
            at_start: true,
        };
        pipeline.sinks = Sinks::one("busy", Box::new(busy));
        let mut observer = crate::observer::Silent;
        let cx = RunSetup {
            patience_at_start,
            ..test_setup(CancelToken::never(), &mut observer)
        };
        let report = super::super::run(&pipeline, cx);
        assert_eq!(report.status, status, "{patience_at_start:?}");
    }
}
