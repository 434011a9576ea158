//! A pipeline's own tests: lines as Mixpanel sends them, and the rows that are to
//! come of them.
//!
//! The records are decoded and transformed as in a run, by the same engine; the
//! rows then go nowhere.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use jiff::tz::TimeZone;
use mixflow_core::batch::Batch;
use mixflow_core::cancel::CancelToken;
use mixflow_core::config::Alarms;
use mixflow_core::context::{RunContext, UnitContext};
use mixflow_core::destination::Destination;
use mixflow_core::engine::{Pipeline, RunSetup, Sinks, run};
use mixflow_core::json_rows::JsonRows;
use mixflow_core::ledger::Held;
use mixflow_core::observer::Silent;
use mixflow_core::reject::{CountRejects, Reject};
use mixflow_core::report::{RunReport, Status};
use mixflow_core::sink::{
    Capabilities, CommitSummary, Outcome, PartitionInfo, Preview, RecordFormat, Residue, Sink,
    SinkTxn, TxnContext,
};
use mixflow_core::source::{BatchIter, Extent, Outline, Plan, Session, Source, SourceInfo, Unit};
use mixflow_core::unit::DataKind;
use mixflow_core::{Error, ErrorKind, Result};
use mixflow_source_mixpanel::decode::{Decoder, Form};
use mixflow_source_mixpanel::time::EventClock;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A file of tests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trials {
    test: Vec<Trial>,
}

/// One test of a pipeline.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// What it shows.
    pub name: String,
    /// Records, each as Mixpanel sends it.
    #[serde(default)]
    pub input: Vec<String>,
    /// The rows that come of them, in their order: the values of columns.
    #[serde(default)]
    rows: Vec<toml::Table>,
    /// How many of the records cannot be read.
    #[serde(default)]
    rejected: u64,
    /// All columns of the rows, if they matter.
    columns: Option<Vec<String>>,
}

/// The key in an expected row that names columns without a value.
const NULL: &str = "null";

impl Trial {
    /// Reads the tests in a file's text.
    ///
    /// Fails with [`ErrorKind::Config`], and says where.
    pub fn read(path: &Path, text: &str) -> Result<Vec<Trial>> {
        let trials: Trials = toml::from_str(text).map_err(|error| {
            let message = format!("cannot read the tests in `{}`", path.display());
            Error::new(ErrorKind::Config, message).because(error.to_string())
        })?;
        Ok(trials.test)
    }

    /// Runs the test with the source's columns and the transforms of `pipeline`,
    /// whose source and sinks are not asked; returns what is not as it should be.
    ///
    /// Fails with [`ErrorKind::Config`] for a pipeline of raw records, and with
    /// what ends a run, such as a transform that lacks its secret.
    pub fn check(&self, pipeline: &mut Pipeline) -> Result<Vec<String>> {
        let seen = Seen::default();
        let Ran {
            mut report,
            schema,
            rows,
        } = self.run(pipeline, &seen)?;
        // What has only rejects has failed for a run, and may be what a test shows.
        let only_rejects = report.rejected == self.input.len() as u64;
        if report.status != Status::Committed
            && !only_rejects
            && let Some(error) = report.error.take()
        {
            return Err(error.context(format!("cannot run the test `{}`", self.name)));
        }
        let mut wrong = Vec::new();
        if report.rejected != self.rejected {
            wrong.push(format!(
                "{} records could not be read, not {}",
                report.rejected, self.rejected
            ));
        }
        if let Some(columns) = &self.columns {
            let has: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            if has != *columns {
                wrong.push(format!(
                    "the columns are {}, not {}",
                    has.join(", "),
                    columns.join(", ")
                ));
            }
        }
        if rows.len() != self.rows.len() {
            wrong.push(format!("{} rows came, not {}", rows.len(), self.rows.len()));
        }
        for (n, (row, expected)) in rows.iter().zip(&self.rows).enumerate() {
            differences(n + 1, row, expected, &mut wrong);
        }
        for (n, row) in rows.iter().enumerate().skip(self.rows.len()) {
            wrong.push(format!(
                "row {} is too many: {}",
                n + 1,
                Value::Object(row.clone())
            ));
        }
        Ok(wrong)
    }

    fn run(&self, pipeline: &mut Pipeline, seen: &Seen) -> Result<Ran> {
        if pipeline.sinks.records() == RecordFormat::Raw {
            return Err(Error::new(ErrorKind::Config, "cannot test this pipeline")
                .because("it passes records on as they come, so there are no columns to compare"));
        }
        let info = SourceInfo {
            partitions_are_days: false,
            calendar: None,
            ..pipeline.source.info()
        };
        let lines = Lines {
            schema: pipeline.source.schema(),
            records: self.input.clone(),
            in_ms: pipeline.source.reading()["time_in_ms"] == true,
            info,
        };
        let source = std::mem::replace(&mut pipeline.source, Box::new(lines));
        let into = Sinks::one("test", Box::new(seen.clone()));
        let sinks = std::mem::replace(&mut pipeline.sinks, into);
        let options = pipeline.options;
        pipeline.options.workers = NonZeroUsize::MIN;
        pipeline.options.min_rows = 0;
        pipeline.alarms = Alarms::default();
        let mut silent = Silent;
        let report = run(pipeline, setup(&mut silent));
        pipeline.source = source;
        pipeline.sinks = sinks;
        pipeline.options = options;
        let (schema, rows) = seen.rows()?;
        Ok(Ran {
            report,
            schema,
            rows,
        })
    }
}

/// What came of the records.
struct Ran {
    report: RunReport,
    schema: SchemaRef,
    rows: Vec<Map<String, Value>>,
}

fn setup(silent: &mut Silent) -> RunSetup<'_> {
    RunSetup {
        run_id: "test".to_owned(),
        cancel: CancelToken::never(),
        observer: silent,
        rejects: Box::new(CountRejects),
        hold: None,
        patience: Duration::ZERO,
        patience_at_start: Duration::ZERO,
        queue: None,
        units: None,
        most_requests: None,
        scratch: std::env::temp_dir(),
        ledgers: None,
    }
}

/// Says in what a row differs from the one that was expected.
fn differences(
    n: usize,
    row: &Map<String, Value>,
    expected: &toml::Table,
    wrong: &mut Vec<String>,
) {
    let mut differs = |column: &str, wanted: &Value, has: Option<&Value>| match has {
        None => wrong.push(format!("row {n} has no column `{column}`")),
        Some(has) if has == wanted => {}
        Some(has) => wrong.push(format!("row {n}: `{column}` is {has}, not {wanted}")),
    };
    for (column, value) in expected {
        if column == NULL
            && let toml::Value::Array(columns) = value
        {
            for column in columns.iter().filter_map(toml::Value::as_str) {
                differs(column, &Value::Null, row.get(column));
            }
            continue;
        }
        let has = row.get(column);
        differs(column, &meant(value, has), has);
    }
}

/// Returns what an expected value is in JSON. A text beside an object or a list is
/// JSON, as properties are written.
fn meant(value: &toml::Value, has: Option<&Value>) -> Value {
    match value {
        toml::Value::String(text) => match has {
            Some(Value::Object(_) | Value::Array(_)) => {
                serde_json::from_str(text).unwrap_or_else(|_| text.clone().into())
            }
            _ => text.clone().into(),
        },
        toml::Value::Integer(n) => match has {
            // As it is written in the other one.
            Some(Value::Number(number)) if number.is_f64() => (*n as f64).into(),
            _ => (*n).into(),
        },
        toml::Value::Float(n) => (*n).into(),
        toml::Value::Boolean(is) => (*is).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.iter().map(|item| meant(item, None)).collect(),
        toml::Value::Table(table) => {
            let member = |(name, value): (&String, &toml::Value)| {
                let has = has.and_then(|has| has.get(name));
                (name.clone(), meant(value, has))
            };
            Value::Object(table.iter().map(member).collect())
        }
    }
}

/// A source of given records.
struct Lines {
    schema: SchemaRef,
    info: SourceInfo,
    records: Vec<String>,
    /// Whether their times are asked for in milliseconds.
    in_ms: bool,
}

impl Lines {
    fn form(&self) -> Form {
        match self.info.dataset.kind {
            DataKind::Profiles => Form::Profiles,
            _ => {
                let zone = &self.info.dataset.zone;
                let zone = TimeZone::get(zone).ok().filter(|_| zone != "UTC");
                let in_ms = self.in_ms;
                Form::Events(EventClock { in_ms, zone })
            }
        }
    }
}

impl Source for Lines {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn info(&self) -> SourceInfo {
        self.info.clone()
    }

    fn outline(&self, _: &Held) -> Outline {
        Outline::default()
    }

    fn open(&self, _: &RunContext) -> Result<Box<dyn Session>> {
        Ok(Box::new(LinesSession {
            form: self.form(),
            unit: Unit::new(
                &self.info.dataset.key(),
                Extent::Whole,
                "input",
                Value::Null,
            ),
            records: self.records.clone(),
        }))
    }
}

struct LinesSession {
    form: Form,
    unit: Unit,
    records: Vec<String>,
}

impl Session for LinesSession {
    fn plan(&self) -> Result<Plan> {
        Ok(Plan {
            units: vec![self.unit.clone()],
            ..Plan::default()
        })
    }

    fn read<'a>(&'a self, unit: &'a Unit, cx: &'a UnitContext) -> Result<BatchIter<'a>> {
        let mut decoder = Decoder::new(self.form.clone()).with_stand_ins(cx.stand_ins());
        let mut batches = Vec::new();
        for (line, record) in (1..).zip(&self.records) {
            if let Err(reason) = decoder.push(record.as_bytes()) {
                cx.reject(&Reject {
                    partition: &unit.label,
                    line,
                    reason: &reason,
                    record: record.as_bytes(),
                })?;
            }
            if decoder.is_full() {
                batches.extend(decoder.take_counted(cx).map(Ok));
            }
        }
        batches.extend(decoder.take_counted(cx).map(Ok));
        Ok(Box::new(batches.into_iter()))
    }
}

/// A sink that only keeps what it sees.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<(Option<SchemaRef>, Vec<RecordBatch>)>>);

impl Seen {
    fn rows(&self) -> Result<(SchemaRef, Vec<Map<String, Value>>)> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let schema = seen.0.clone().unwrap_or_else(|| Arc::new(Schema::empty()));
        let form = JsonRows::new(&schema)?;
        let mut rows = Vec::new();
        for batch in &seen.1 {
            for row in 0..batch.num_rows() {
                let mut json = Vec::new();
                form.push_row(batch, row, &mut json)?;
                rows.push(serde_json::from_slice(&json).map_err(|error| {
                    Error::new(ErrorKind::Data, "a row has no form in JSON").with_source(error)
                })?);
            }
        }
        Ok((schema, rows))
    }
}

impl Sink for Seen {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: true,
            replaces_days: false,
            records: RecordFormat::Normalized,
        }
    }

    fn destination(&self, _: &DataKind) -> Destination {
        Destination::named("test")
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        JsonRows::new(schema).map(|_| ())
    }

    fn preview(&self, _: &TxnContext) -> Result<Preview> {
        Ok(Preview::default())
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = (Some(Arc::clone(&cx.schema)), Vec::new());
        Ok(Box::new(Seeing(self, 0)))
    }
}

struct Seeing<'s>(&'s Seen, u64);

impl SinkTxn for Seeing<'_> {
    fn partition(&mut self, _: &PartitionInfo) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.1 += batch.records.num_rows() as u64;
        let mut seen = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.1.push(batch.records.clone());
        Ok(())
    }

    fn commit(self: Box<Self>, _: &Outcome<'_>) -> Result<CommitSummary> {
        Ok(CommitSummary {
            rows: self.1,
            destination: "test".to_owned(),
            warnings: Vec::new(),
        })
    }

    fn abort(self: Box<Self>) -> Result<Residue> {
        Ok(Residue::None)
    }
}
