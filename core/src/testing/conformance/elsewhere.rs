//! The contract of a sink that writes no files: topics that live in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;

use super::{Cells, SinkUnderTest, cells_of, sink_conformance};
use crate::batch::Batch;
use crate::destination::Destination;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::{
    Capabilities, CommitSummary, Outcome, PartitionInfo, Preview, RecordFormat, Residue, Sink,
    SinkTxn, TxnContext, WriteMode,
};
use crate::unit::DataKind;

type Topics = Arc<Mutex<BTreeMap<String, Vec<RecordBatch>>>>;

/// Adds to a topic of a server, which may be down.
struct Topic {
    server: Topics,
    name: String,
    is_up: bool,
}

impl Topic {
    fn reach(&self) -> Result<()> {
        match self.is_up {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Destination, "nobody listens")),
        }
    }
}

impl Sink for Topic {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: true,
            replaces_days: false,
            records: RecordFormat::Normalized,
        }
    }

    fn destination(&self, _: &DataKind) -> Destination {
        Destination::named(&self.name)
    }

    fn check_schema(&self, _: &Schema) -> Result<()> {
        Ok(())
    }

    fn preview(&self, _: &TxnContext) -> Result<Preview> {
        self.reach()?;
        Ok(Preview {
            actions: vec![format!("adds to the topic `{}`", self.name)],
        })
    }

    fn begin(&self, _: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        self.reach()?;
        Ok(Box::new(Sending(self, Vec::new())))
    }
}

struct Sending<'t>(&'t Topic, Vec<RecordBatch>);

impl SinkTxn for Sending<'_> {
    fn partition(&mut self, _: &PartitionInfo) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.1.push(batch.records.clone());
        Ok(())
    }

    fn commit(self: Box<Self>, _: &Outcome<'_>) -> Result<CommitSummary> {
        let Sending(topic, batches) = *self;
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        let mut server = topic.server.lock().expect("no panic");
        server
            .entry(topic.name.clone())
            .or_default()
            .extend(batches);
        Ok(CommitSummary {
            rows,
            destination: topic.name.clone(),
            ..CommitSummary::default()
        })
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        Ok(Residue::None)
    }
}

/// A server, and whether its sinks can be told to go where none is.
struct Server {
    topics: Topics,
    knows_a_dead_port: bool,
}

impl Server {
    fn topic(&self, place: &Path, mode: WriteMode, is_up: bool) -> Option<Box<dyn Sink>> {
        (mode == WriteMode::Append).then(|| {
            Box::new(Topic {
                server: Arc::clone(&self.topics),
                name: place.display().to_string(),
                is_up,
            }) as Box<dyn Sink>
        })
    }
}

impl SinkUnderTest for Server {
    fn sink(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        self.topic(place, mode, true)
    }

    fn unwritable(&self, place: &Path, mode: WriteMode) -> Option<Box<dyn Sink>> {
        match self.knows_a_dead_port {
            true => self.topic(place, mode, false),
            false => None,
        }
    }

    fn rows(&self, place: &Path) -> Option<Vec<Cells>> {
        let topics = self.topics.lock().expect("no panic");
        topics.get(&place.display().to_string()).map(cells_of)
    }
}

const NO_SUCH_MODE: [&str; 6] = [
    "create on something that is there",
    "replace swaps everything",
    "replace, then abort",
    "replace by nothing",
    "replace_window replaces days only",
    "replace_window replaces just what was fetched",
];

#[test]
fn a_sink_that_writes_no_files_keeps_the_contract() {
    let report = sink_conformance(&Server {
        topics: Topics::default(),
        knows_a_dead_port: true,
    });
    assert_eq!(report.skipped, NO_SUCH_MODE);
}

#[test]
fn a_place_that_cannot_be_written_may_be_unknown() {
    let report = sink_conformance(&Server {
        topics: Topics::default(),
        knows_a_dead_port: false,
    });
    let skipped = [&NO_SUCH_MODE[..], &["a place that cannot be written"]].concat();
    assert_eq!(report.skipped, skipped);
}
