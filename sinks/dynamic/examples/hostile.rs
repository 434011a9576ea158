//! A sink that goes wrong at one call, as its options say.
//!
//! `tests/e2e/plugin.rs` loads it into the real binary.

use std::fmt;

use mixflow_core::batch::Batch;
use mixflow_core::config::Invalid;
use mixflow_core::destination::Destination;
use mixflow_core::sink::{
    Capabilities, CommitSummary, Outcome, PartitionInfo, Preview, RecordFormat, Residue, Sink,
    SinkTxn, TxnContext,
};
use mixflow_core::unit::DataKind;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_sink_abi::arrow::datatypes::Schema;
use serde::Deserialize;

mixflow_sink_abi::export_sink!("hostile", Options, Hostile::new);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The call at which it goes wrong.
    at: String,
    how: How,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum How {
    /// Panics with a text.
    Panic,
    /// Panics with something that panics again when it is dropped.
    Bomb,
    /// Fails with an error that panics when it is shown.
    Unspeakable,
    /// Fails as the destination being there does.
    Exists,
    /// Speaks of fewer rows than it was given.
    Loses,
    /// Logs a line of each level.
    Logs,
}

struct Hostile(Options);

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the bomb went off");
    }
}

#[derive(Debug)]
struct Unspeakable;

impl std::error::Error for Unspeakable {}

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("not to be spoken of")
    }
}

impl Hostile {
    fn new(options: Options) -> Result<Hostile, Vec<Invalid>> {
        let hostile = Hostile(options);
        match hostile.at("open") {
            Ok(()) => Ok(hostile),
            Err(error) => Err(vec![Invalid::new("at", error.to_string())]),
        }
    }

    fn at(&self, call: &str) -> Result<()> {
        if self.0.at != call {
            return Ok(());
        }
        match self.0.how {
            How::Panic => panic!("no luck at {call}"),
            How::Bomb => std::panic::panic_any(Bomb),
            How::Unspeakable => {
                Err(Error::new(ErrorKind::Io, "it went wrong").with_source(Unspeakable))
            }
            How::Exists => {
                Err(Error::new(ErrorKind::Destination, "it is there").because("somebody made it"))
            }
            How::Loses => Ok(()),
            How::Logs => {
                log::error!("the {call} was hard");
                log::warn!("the {call} was slow");
                log::info!("the {call} was done");
                Ok(())
            }
        }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        // Not while another panic is under way, which would end the process
        // wherever the sink was compiled.
        if !std::thread::panicking() {
            let _ = self.at("close");
        }
    }
}

impl Sink for Hostile {
    fn capabilities(&self) -> Capabilities {
        let _ = self.at("describe");
        Capabilities {
            transactional: true,
            replaces_days: false,
            records: RecordFormat::Normalized,
        }
    }

    fn destination(&self, _: &DataKind) -> Destination {
        Destination::named("nowhere")
    }

    fn check_schema(&self, _: &Schema) -> Result<()> {
        self.at("check_schema")
    }

    fn preview(&self, _: &TxnContext) -> Result<Preview> {
        self.at("preview").map(|()| Preview::default())
    }

    fn begin(&self, _: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        self.at("begin")?;
        Ok(Box::new(HostileTxn(self, 0)))
    }
}

struct HostileTxn<'s>(&'s Hostile, u64);

impl SinkTxn for HostileTxn<'_> {
    fn partition(&mut self, _: &PartitionInfo) -> Result<()> {
        self.0.at("partition")
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.1 += batch.records.num_rows() as u64;
        self.0.at("write")
    }

    fn commit(self: Box<Self>, _: &Outcome<'_>) -> Result<CommitSummary> {
        self.0.at("commit")?;
        Ok(CommitSummary {
            rows: match self.0.0.how {
                How::Loses => 1,
                _ => self.1,
            },
            destination: "nowhere".to_owned(),
            warnings: Vec::new(),
        })
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        self.0.at("abort").map(|()| Residue::None)
    }
}

impl Drop for HostileTxn<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = self.0.at("discard");
        }
    }
}
