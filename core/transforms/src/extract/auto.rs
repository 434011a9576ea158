//! Columns that make themselves, of the properties that occur.

use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use mixflow_core::config::Invalid;
use mixflow_core::context::RunContext;
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::made_of::Existing;
use mixflow_core::transform::{LateColumns, Survey};
use mixflow_core::transform::{Transform, TransformSession};

use super::super::properties::{Facts, Properties};
use super::super::scrub::json_column;
use super::choice::{Candidate, Choice};
use super::given::Extract;
use super::observed::Observed;
use super::options::ExtractOptions;

/// The most columns, unless it is said.
const MAX_COLUMNS: usize = 100;

/// The least share of rows that have a property, unless it is said.
const MIN_FILL: f64 = 0.01;

/// `extract` with `columns = "auto"`.
#[derive(Clone, Debug)]
pub(super) struct Auto {
    options: ExtractOptions,
    input: SchemaRef,
    from: usize,
    max_columns: usize,
    min_fill: f64,
}

impl Auto {
    /// Builds the transform against the schema of its input.
    pub(super) fn new(options: ExtractOptions, input: &Schema) -> Result<Auto, Vec<Invalid>> {
        let mut invalid = Vec::new();
        let from = json_column("from", &options.from, input);
        let from = from.map_err(|problem| invalid.push(problem)).ok();
        let max_columns = options.max_columns.unwrap_or(MAX_COLUMNS);
        if max_columns == 0 {
            let message = "without columns this does nothing: leave the transform out";
            invalid.push(Invalid::new("max_columns", message));
        }
        let min_fill = options.min_fill.unwrap_or(MIN_FILL);
        if !(0.0..=1.0).contains(&min_fill) {
            let message = "this is a share of the rows, from 0 to 1";
            invalid.push(Invalid::new("min_fill", message));
        }
        match from {
            Some(from) if invalid.is_empty() => Ok(Auto {
                options,
                input: Arc::new(input.clone()),
                from,
                max_columns,
                min_fill,
            }),
            _ => Err(invalid),
        }
    }
}

impl Transform for Auto {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.input)
    }

    fn open(&self, _cx: &RunContext) -> Result<Box<dyn TransformSession>> {
        Err(Error::new(
            ErrorKind::Other,
            "the columns of `extract` are not fixed",
        ))
    }

    fn late(&self) -> Option<Arc<dyn LateColumns>> {
        Some(Arc::new(self.clone()))
    }
}

impl LateColumns for Auto {
    fn survey(&self, existing: &[Existing]) -> Box<dyn Survey> {
        Box::new(Look {
            auto: self.clone(),
            existing: existing.to_vec(),
            rows: 0,
            properties: Properties::new(),
        })
    }
}

/// What was seen of the rows of a unit.
struct Look {
    auto: Auto,
    existing: Vec<Existing>,
    rows: u64,
    properties: Properties<Seen>,
}

/// What was seen of a property.
struct Seen {
    filled: u64,
    observed: Observed,
}

impl Facts for Seen {
    fn none() -> Seen {
        Seen {
            filled: 0,
            observed: Observed::default(),
        }
    }

    fn merge(&mut self, other: Seen) {
        self.filled += other.filled;
        self.observed.merge(other.observed);
    }
}

impl Survey for Look {
    fn count(&mut self, records: &RecordBatch) {
        self.rows += records.num_rows() as u64;
        let column = records.column(self.auto.from).as_string::<i32>();
        for json in column.iter().flatten() {
            // What cannot be read has no properties; it fails its unit where its
            // values are to be extracted.
            self.properties.count(json, |seen, value| {
                seen.filled += u64::from(seen.observed.note_json(value));
            });
        }
    }

    fn settle(self: Box<Self>) -> Result<Box<dyn Transform>> {
        let Look {
            auto,
            existing,
            rows,
            properties,
        } = *self;
        let candidates = properties.into_facts().map(|(property, seen)| Candidate {
            property: property.into(),
            fill: seen.filled as f64 / rows.max(1) as f64,
            filled: seen.filled,
            observed: seen.observed,
        });
        let choice = Choice {
            input: &auto.input,
            existing: &existing,
            max_columns: auto.max_columns,
            min_fill: auto.min_fill,
        };
        let columns = choice.columns(candidates.collect());
        let extract = Extract::of(&auto.options, auto.from, columns, &auto.input);
        Ok(Box::new(extract))
    }
}
