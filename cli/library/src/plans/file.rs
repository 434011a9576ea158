//! Plans, as they travel.

use std::num::NonZeroUsize;
use std::path::Path;

use arrow::datatypes::{DataType, Field, SchemaRef};
use mixflow_core::source::Plan;
use mixflow_core::text::hex;
use mixflow_core::unit::{Extent, Unit, UnitKey};
use mixflow_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The units of one pipeline or several.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct PlanFile {
    /// The same for the same pipelines and days, and safe in a path.
    pub plan_id: String,
    /// The version that made it.
    pub mixflow_version: String,
    pipelines: Vec<Planned>,
}

/// A plan as it is written: one pipeline alone stands by itself.
///
/// Spelled out, for `untagged` and `flatten` would hold all units of a plan of 100,000
/// a second time: 345 MB.
#[derive(Serialize, Deserialize)]
struct Written {
    plan_id: String,
    mixflow_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ordered: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected_rows: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_workers: Option<NonZeroUsize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<Column>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    units: Option<Vec<Unit>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pipelines: Option<Vec<Planned>>,
}

impl TryFrom<Written> for PlanFile {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<PlanFile, &'static str> {
        let Written {
            plan_id,
            mixflow_version,
            ..
        } = written;
        let pipelines = match (written.pipeline, written.units, written.pipelines) {
            (Some(pipeline), Some(units), None) => vec![Planned {
                pipeline,
                ordered: written.ordered,
                expected_rows: written.expected_rows,
                max_workers: written.max_workers,
                columns: written.columns,
                units,
            }],
            (None, None, Some(pipelines)) => pipelines,
            _ => return Err("it has neither `pipeline` and `units` nor `pipelines`"),
        };
        Ok(PlanFile {
            plan_id,
            mixflow_version,
            pipelines,
        })
    }
}

impl From<PlanFile> for Written {
    fn from(plan: PlanFile) -> Written {
        let PlanFile {
            plan_id,
            mixflow_version,
            mut pipelines,
        } = plan;
        let mut written = Written {
            plan_id,
            mixflow_version,
            pipeline: None,
            ordered: false,
            expected_rows: None,
            max_workers: None,
            columns: Vec::new(),
            units: None,
            pipelines: None,
        };
        if pipelines.len() != 1 {
            written.pipelines = Some(pipelines);
            return written;
        }
        let one = pipelines.remove(0);
        Written {
            pipeline: Some(one.pipeline),
            ordered: one.ordered,
            expected_rows: one.expected_rows,
            max_workers: one.max_workers,
            columns: one.columns,
            units: Some(one.units),
            ..written
        }
    }
}

/// One pipeline, and what is to be read for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Planned {
    /// What stands in its file, with variables and defaults put in and relative days
    /// resolved; secrets are references.
    pub pipeline: Map<String, Value>,
    /// Whether rows are committed in the order of the units.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ordered: bool,
    /// The rows, if the source was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_rows: Option<u64>,
    /// The units that the source reads at once, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_workers: Option<NonZeroUsize>,
    /// What the rows of a unit look like, for who makes a table of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// What is read independently.
    pub units: Vec<Unit>,
}

/// A column of the rows of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as SQL calls it: `string`, `timestamp` (UTC), `date`, `bigint`,
    /// `double`, `boolean`, `binary`. JSON is a string.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Column {
    fn of(field: &Field) -> Column {
        let kind = match field.data_type() {
            DataType::Timestamp(_, _) => "timestamp",
            DataType::Date32 | DataType::Date64 => "date",
            DataType::Boolean => "boolean",
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary",
            kind if kind.is_integer() => "bigint",
            kind if kind.is_floating() => "double",
            _ => "string",
        };
        Column {
            name: field.name().clone(),
            kind: kind.to_owned(),
        }
    }
}

/// A pipeline that was built and planned.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its name.
    pub name: String,
    /// What another machine can build it from; see
    /// [`Document::portable`](mixflow_core::config::Document::portable).
    pub table: Map<String, Value>,
    /// Its units.
    pub plan: Plan,
    /// What the rows of a unit look like.
    pub schema: SchemaRef,
    /// The days that it asks for, if it asks for days.
    pub days: Option<(jiff::civil::Date, jiff::civil::Date)>,
}

/// A unit of a plan, and the pipeline that it is of.
#[derive(Clone, Copy, Debug)]
pub struct PlannedUnit<'p> {
    /// Which of the pipelines, from 0.
    pub pipeline: usize,
    /// The unit.
    pub unit: &'p Unit,
}

/// The days in a source's table that are said anew: `from` and `to` are days then,
/// which `lookback` has moved already.
const RELATIVE: [&str; 2] = ["lookback", "start"];

impl PlanFile {
    /// Makes the plan of these pipelines. With `nonce` it is another plan than any
    /// before it, so that nothing that was left for those counts.
    pub fn new(drafts: Vec<Draft>, nonce: Option<&str>) -> PlanFile {
        let planned: Vec<Planned> = drafts.into_iter().map(Planned::of).collect();
        let mut hash = Sha256::new();
        for planned in &planned {
            hash.update(Value::Object(planned.pipeline.clone()).to_string());
            for unit in &planned.units {
                hash.update(unit.key.as_str());
            }
            hash.update([0]);
        }
        hash.update(nonce.unwrap_or_default());
        PlanFile {
            plan_id: hex(&hash.finalize()[..16]),
            mixflow_version: env!("CARGO_PKG_VERSION").to_owned(),
            pipelines: planned,
        }
    }

    /// Reads a plan.
    ///
    /// Fails with [`ErrorKind::Config`].
    pub fn read(path: &Path) -> Result<PlanFile> {
        let fail = || {
            let message = format!("cannot read the plan `{}`", path.display());
            Error::new(ErrorKind::Config, message)
        };
        let text = std::fs::read(path).map_err(|error| fail().with_source(error))?;
        let plan: PlanFile = serde_json::from_slice(&text).map_err(|error| {
            let hint = "make one with `mixflow plan FILE --output PLAN.json`";
            fail().with_source(error).hint(hint)
        })?;
        let is_safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if plan.plan_id.is_empty() || !plan.plan_id.chars().all(is_safe) {
            return Err(fail().because("its `plan_id` is none that a plan is given"));
        }
        Ok(plan)
    }

    /// Returns the plan as text.
    pub fn into_json(self) -> Result<String> {
        let text = serde_json::to_string_pretty(&Written::from(self));
        let text = text.map_err(|error| {
            Error::new(ErrorKind::Other, "cannot write the plan").with_source(error)
        })?;
        Ok(text + "\n")
    }

    /// Returns the pipelines.
    pub fn pipelines(&self) -> &[Planned] {
        &self.pipelines
    }

    /// Returns what the part of pipeline `n` is called on a stage.
    pub fn stage_name(&self, n: usize) -> String {
        match self.pipelines.len() {
            1 => self.plan_id.clone(),
            _ => format!("{}-{n}", self.plan_id),
        }
    }

    /// Returns the units of all pipelines, in their order.
    pub fn units(&self) -> impl Iterator<Item = PlannedUnit<'_>> {
        let pipelines = self.pipelines().iter().enumerate();
        pipelines.flat_map(|(pipeline, planned)| {
            let units = planned.units.iter();
            units.map(move |unit| PlannedUnit { pipeline, unit })
        })
    }

    /// Finds a unit by its key.
    ///
    /// Fails with [`ErrorKind::Config`] if there is none, or one in each of two
    /// pipelines.
    pub fn by_key(&self, key: &str) -> Result<PlannedUnit<'_>> {
        let mut found = self
            .units()
            .filter(|planned| planned.unit.key.as_str() == key);
        let first = found.next();
        let Some(first) = first else {
            return Err(self.unknown(&format!("the key `{key}`")));
        };
        match found.next() {
            None => Ok(first),
            Some(_) => Err(Error::new(
                ErrorKind::Config,
                format!("two pipelines of the plan have the unit `{key}`"),
            )
            .hint("name it by `--index`")),
        }
    }

    /// Finds a unit by its position, from 0.
    ///
    /// Fails with [`ErrorKind::Config`] if there are not so many.
    pub fn by_index(&self, index: usize) -> Result<PlannedUnit<'_>> {
        let found = self.units().nth(index);
        found.ok_or_else(|| self.unknown(&format!("the index {index}")))
    }

    fn unknown(&self, what: &str) -> Error {
        let units = self.units().count();
        let message = format!("no unit of the plan has {what}");
        let error = Error::new(ErrorKind::Config, message);
        match units {
            0 => error.because("it has no units: there is nothing to do"),
            _ => error.because(format!("it has {units}, from 0 to {}", units - 1)),
        }
    }
}

impl Planned {
    fn of(draft: Draft) -> Planned {
        let mut pipeline = draft.table;
        pipeline.insert("name".to_owned(), Value::from(draft.name));
        let days = range(&draft.plan.units).or(draft.days);
        if let Some((first, last)) = days
            && let Some(Value::Object(source)) = pipeline.get_mut("source")
        {
            source.insert("from".to_owned(), Value::from(first.to_string()));
            source.insert("to".to_owned(), Value::from(last.to_string()));
            for key in RELATIVE {
                source.remove(key);
            }
        }
        Planned {
            pipeline,
            ordered: draft.plan.ordered,
            expected_rows: draft.plan.expected_rows,
            max_workers: draft.plan.max_workers,
            columns: draft
                .schema
                .fields()
                .iter()
                .map(|field| Column::of(field))
                .collect(),
            units: draft.plan.units,
        }
    }

    /// Returns the pipeline's name.
    pub fn name(&self) -> &str {
        let name = self.pipeline.get("name").and_then(Value::as_str);
        name.unwrap_or("pipeline")
    }

    /// Returns the pipeline as the text of a file.
    ///
    /// Fails for one that somebody has changed so that it is none.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(&self.pipeline).map_err(|error| {
            Error::new(ErrorKind::Config, "the pipeline in the plan is none").with_source(error)
        })
    }

    /// Returns the units as a source plans them.
    pub fn plan(&self) -> Plan {
        Plan {
            units: self.units.clone(),
            max_workers: self.max_workers,
            ordered: self.ordered,
            expected_rows: self.expected_rows,
            requests: self.units.len() as u64,
            warnings: Vec::new(),
        }
    }

    /// Returns the units without one of these keys, in their order.
    pub fn without<'p, V>(
        &'p self,
        keys: &'p std::collections::BTreeMap<UnitKey, V>,
    ) -> impl Iterator<Item = &'p Unit> {
        let units = self.units.iter();
        units.filter(move |unit| !keys.contains_key(&unit.key))
    }
}

/// Returns the first and the last day of units that stand for days.
fn range(units: &[Unit]) -> Option<(jiff::civil::Date, jiff::civil::Date)> {
    let days = units.iter().filter_map(|unit| match unit.extent {
        Extent::Days(days) => Some((days.first, days.last)),
        Extent::Page(_) | Extent::Whole => None,
    });
    days.reduce(|all, days| (all.0.min(days.0), all.1.max(days.1)))
}
