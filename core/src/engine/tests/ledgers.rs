//! The ledgers of sinks that keep none.

use std::cell::RefCell;

use super::*;
use crate::destination::Destination;
use crate::engine::run;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Earlier, Ledger, LedgerStore, Recorded};
use crate::observer::Silent;
use crate::testing::{good, test_setup};
use crate::unit::Dataset;

/// Fails when it is asked for `fails_at`, and notes what it was told.
#[derive(Default)]
struct Store {
    fails_at: &'static str,
    heard: RefCell<Vec<(Earlier, Vec<u64>)>>,
}

impl Store {
    fn at(&self, call: &str) -> Result<()> {
        match self.fails_at == call {
            true => Err(Error::new(ErrorKind::Io, format!("cannot {call} it"))),
            false => Ok(()),
        }
    }
}

impl LedgerStore for Store {
    fn read(&self, _: &Destination, _: &Dataset) -> Result<Ledger> {
        self.at("read").map(|()| Ledger::default())
    }

    fn record(&self, _: &Destination, _: &Dataset, done: &Recorded<'_>) -> Result<()> {
        let rows = done.units.iter().map(|unit| unit.record.rows);
        let heard = (done.earlier, rows.collect());
        self.heard.borrow_mut().push(heard);
        self.at("record")
    }
}

fn run_with_store(store: &Store) -> RunReport {
    let source = TestSource::new([good(2), good(3)]).days();
    let pipeline = pipeline(source, TestSink::recording().replacing_days());
    let mut silent = Silent;
    let mut setup = test_setup(CancelToken::never(), &mut silent);
    setup.ledgers = Some(store);
    run(&pipeline, setup)
}

#[test]
fn what_was_committed_is_recorded_once() {
    let store = Store::default();
    let report = run_with_store(&store);
    assert_eq!(report.warnings, Vec::<String>::new());
    let heard = store.heard.into_inner();
    assert_eq!(heard, [(Earlier::GoByDay, vec![2, 3])]);
}

#[test]
fn a_ledger_that_cannot_be_read_or_written_is_a_warning() {
    for (fails_at, recorded, said) in [
        ("read", 0, "cannot read it; its days count as missing"),
        ("record", 1, "so they count as missing: cannot record it"),
    ] {
        let store = Store {
            fails_at,
            ..Store::default()
        };
        let report = run_with_store(&store);
        assert_eq!(report.status, Status::Committed);
        assert_eq!(report.row_count, 5);
        assert!(report.warnings[0].contains(said), "{:?}", report.warnings);
        assert_eq!(report.warnings.len(), 1);
        assert_eq!(store.heard.into_inner().len(), recorded);
    }
}

/// Nobody knows what of it is there already.
#[test]
fn what_is_missing_is_not_added_where_the_ledger_cannot_be_read() {
    let run_into = |sink: TestSink| {
        let store = Store {
            fails_at: "read",
            ..Store::default()
        };
        let source = TestSource::new([good(2)]).catching_up();
        let mut silent = Silent;
        let mut setup = test_setup(CancelToken::never(), &mut silent);
        setup.ledgers = Some(&store);
        run(&pipeline(source, sink), setup)
    };
    let report = run_into(TestSink::recording());
    assert_eq!(report.status, Status::Aborted);
    assert_eq!(report.error_kind(), Some(ErrorKind::Io));
    let error = report.error.expect("it failed");
    assert!(error.message().contains("it may be there already"));
    assert_eq!(error.causes(), ["cannot read it"]);
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("`start`"))
    );
    assert_eq!(report.warnings, Vec::<String>::new());

    let report = run_into(TestSink::recording().replacing_days());
    assert_eq!(report.status, Status::Committed);
}
