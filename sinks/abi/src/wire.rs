//! The JSON documents that cross the boundary, and what they stand for.
//!
//! Fields that are added by a later minor version are ignored by an older
//! reader and have a default in a newer one.

use std::path::PathBuf;
use std::str::FromStr;

use arrow::datatypes::SchemaRef;
use jiff::Timestamp;
use jiff::civil::Date;
use mixflow_core::batch::PartitionId;
use mixflow_core::destination::Destination;
use mixflow_core::fit::Provenance;
use mixflow_core::ledger::Earlier;
use mixflow_core::registry::OptionDoc;
use mixflow_core::sink::{
    Capabilities, CommitSummary, Outcome, PartitionInfo, Preview, RecordFormat, Residue, Sink,
    TxnContext,
};
use mixflow_core::source::{Dataset, DayRange, Extent, SourceInfo};
use mixflow_core::unit::DataKind;
use mixflow_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// What a sink, as configured, says of itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DescriptionDoc {
    /// Whether nothing is visible before commit and nothing remains after abort.
    pub transactional: bool,
    /// Whether commit replaces the days of the partitions.
    #[serde(default)]
    pub replaces_days: bool,
    /// The form of record that the sink wants.
    #[serde(default)]
    pub records: RecordsDoc,
    /// What people call the destination.
    pub destination: String,
    /// The file or folder that a run writes, if it is one.
    #[serde(default)]
    pub place: Option<PathBuf>,
    /// The name of the table, if there is one.
    #[serde(default)]
    pub table: Option<String>,
    /// What becomes of earlier rows at commit; by default those of the days go
    /// if days are replaced, and otherwise all stay.
    #[serde(default)]
    pub earlier: Option<EarlierDoc>,
}

/// What becomes of earlier rows at commit.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EarlierDoc {
    /// They stay.
    Stay,
    /// Those of the days that were fetched go.
    GoByDay,
    /// All of them go, or there were none.
    Go,
}

/// The form of record that a sink wants.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordsDoc {
    /// Named, typed columns.
    #[default]
    Normalized,
    /// One binary column.
    Raw,
}

impl DescriptionDoc {
    /// Describes `sink`.
    pub fn of(sink: &dyn Sink) -> DescriptionDoc {
        let Capabilities {
            transactional,
            replaces_days,
            records,
        } = sink.capabilities();
        // What a plugin's table is called does not depend on the rows.
        let destination = sink.destination(&DataKind::Events);
        DescriptionDoc {
            transactional,
            replaces_days,
            records: match records {
                RecordFormat::Normalized => RecordsDoc::Normalized,
                RecordFormat::Raw => RecordsDoc::Raw,
            },
            destination: destination.uri,
            place: destination.path,
            table: destination.table,
            earlier: Some(match sink.earlier() {
                Earlier::Stay => EarlierDoc::Stay,
                Earlier::GoByDay => EarlierDoc::GoByDay,
                Earlier::Go => EarlierDoc::Go,
            }),
        }
    }

    /// Returns what becomes of earlier rows when a run commits.
    pub fn earlier(&self) -> Earlier {
        match self.earlier {
            Some(EarlierDoc::Stay) => Earlier::Stay,
            Some(EarlierDoc::GoByDay) => Earlier::GoByDay,
            Some(EarlierDoc::Go) => Earlier::Go,
            None if self.replaces_days => Earlier::GoByDay,
            None => Earlier::Stay,
        }
    }

    /// Returns where the rows go.
    pub fn destination(&self) -> Destination {
        Destination {
            uri: self.destination.clone(),
            table: self.table.clone(),
            path: self.place.clone(),
            service: None,
        }
    }

    /// Returns what the sink can promise and wants.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: self.transactional,
            replaces_days: self.replaces_days,
            records: match self.records {
                RecordsDoc::Normalized => RecordFormat::Normalized,
                RecordsDoc::Raw => RecordFormat::Raw,
            },
        }
    }
}

/// What a transaction is told when it begins.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ContextDoc {
    /// The run, unique among runs.
    pub run_id: String,
    /// When the run started, as RFC 3339.
    pub started_at: String,
    /// What the rows are: `events` or `profiles`.
    pub data_type: String,
    /// The project, or what else the data is one of many of.
    #[serde(default)]
    pub project: String,
    /// Whose midnight a day begins at.
    #[serde(default)]
    pub zone: String,
    /// Which data, in a few words.
    pub title: String,
    /// The first day that is asked for, inclusive.
    pub from_date: Option<String>,
    /// The last day that is asked for, inclusive.
    pub to_date: Option<String>,
    /// The filters that apply.
    #[serde(default)]
    pub filters: serde_json::Map<String, serde_json::Value>,
    /// Whether each partition is a range of whole days.
    #[serde(default)]
    pub partitions_are_days: bool,
    /// How the rows are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

impl ContextDoc {
    /// Takes what crosses of `cx`; the schema goes beside it.
    pub fn of(cx: &TxnContext) -> ContextDoc {
        ContextDoc {
            run_id: cx.run_id.clone(),
            started_at: cx.started_at.to_string(),
            data_type: cx.source.dataset.kind.to_string(),
            project: cx.source.dataset.project.clone(),
            zone: cx.source.dataset.zone.clone(),
            title: cx.source.title.clone(),
            from_date: cx.source.from_date.map(|date| date.to_string()),
            to_date: cx.source.to_date.map(|date| date.to_string()),
            filters: cx.source.dataset.filters.clone(),
            partitions_are_days: cx.source.partitions_are_days,
            provenance: cx.source.provenance.clone(),
        }
    }

    /// Returns the context with its schema.
    pub fn with_schema(self, schema: SchemaRef) -> Result<TxnContext> {
        let date = |text: Option<String>| text.map(|text| parsed::<Date>(&text)).transpose();
        Ok(TxnContext {
            run_id: self.run_id,
            schema,
            source: SourceInfo {
                dataset: Dataset {
                    project: self.project,
                    kind: self.data_type.into(),
                    zone: self.zone,
                    filters: self.filters,
                },
                title: self.title,
                from_date: date(self.from_date)?,
                to_date: date(self.to_date)?,
                partitions_are_days: self.partitions_are_days,
                provenance: self.provenance,
                ..SourceInfo::default()
            },
            started_at: parsed::<Timestamp>(&self.started_at)?,
            cancel: mixflow_core::cancel::CancelToken::never(),
        })
    }
}

/// What a transaction is told of a partition.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PartitionDoc {
    /// The position in the plan.
    pub id: u32,
    /// What people call it.
    pub label: String,
    /// The days that it stands for, if it does.
    #[serde(default)]
    pub days: Option<DaysDoc>,
    /// The page that it is, if it is one; counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u64>,
}

/// A range of whole days, with the instants at which it starts and ends.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DaysDoc {
    /// The first day.
    pub first: String,
    /// The last day, inclusive.
    pub last: String,
    /// The first instant of the first day, in microseconds since 1970 (UTC).
    pub start_us: i64,
    /// The first instant after the last day, in microseconds since 1970 (UTC).
    pub end_us: i64,
}

impl PartitionDoc {
    /// Takes what crosses of `info`.
    pub fn of(info: &PartitionInfo) -> PartitionDoc {
        PartitionDoc {
            id: info.id.0,
            label: info.label.clone(),
            page: match info.extent {
                Extent::Page(page) => Some(page),
                Extent::Days(_) | Extent::Whole => None,
            },
            days: match info.extent {
                Extent::Page(_) | Extent::Whole => None,
                Extent::Days(days) => Some(DaysDoc {
                    first: days.first.to_string(),
                    last: days.last.to_string(),
                    start_us: days.start_us,
                    end_us: days.end_us,
                }),
            },
        }
    }

    /// Returns the partition.
    pub fn info(self) -> Result<PartitionInfo> {
        Ok(PartitionInfo {
            id: PartitionId(self.id),
            label: self.label,
            extent: match (self.days, self.page) {
                (None, None) => Extent::Whole,
                (None, Some(page)) => Extent::Page(page),
                (Some(days), _) => Extent::Days(DayRange {
                    first: parsed(&days.first)?,
                    last: parsed(&days.last)?,
                    start_us: days.start_us,
                    end_us: days.end_us,
                }),
            },
        })
    }
}

/// How the run went, as far as it is known at commit.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OutcomeDoc {
    /// Rows written.
    pub rows: u64,
    /// The partitions that could not be had.
    #[serde(default)]
    pub missing: Vec<MissingDoc>,
}

/// A partition that could not be had.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MissingDoc {
    /// Which one.
    pub partition: PartitionDoc,
    /// Why.
    pub reason: String,
}

impl OutcomeDoc {
    /// Takes what crosses of `outcome`.
    pub fn of(outcome: &Outcome<'_>) -> OutcomeDoc {
        let missing = outcome.missing.iter().map(|(info, reason)| MissingDoc {
            partition: PartitionDoc::of(info),
            reason: reason.clone(),
        });
        OutcomeDoc {
            rows: outcome.rows,
            missing: missing.collect(),
        }
    }

    /// Returns the missing partitions with their reasons.
    pub fn missing(self) -> Result<Vec<(PartitionInfo, String)>> {
        let missing = self.missing.into_iter();
        missing
            .map(|doc| Ok((doc.partition.info()?, doc.reason)))
            .collect()
    }
}

/// What a run would do, a sentence each.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PreviewDoc {
    /// Sentences such as `creates out.csv`.
    pub actions: Vec<String>,
}

impl From<Preview> for PreviewDoc {
    fn from(preview: Preview) -> PreviewDoc {
        PreviewDoc {
            actions: preview.actions,
        }
    }
}

impl From<PreviewDoc> for Preview {
    fn from(doc: PreviewDoc) -> Preview {
        Preview {
            actions: doc.actions,
        }
    }
}

/// What a commit did.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SummaryDoc {
    /// Rows that the run made visible.
    pub rows: u64,
    /// Where they are now.
    pub destination: String,
    /// Things a person should know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl From<CommitSummary> for SummaryDoc {
    fn from(summary: CommitSummary) -> SummaryDoc {
        SummaryDoc {
            rows: summary.rows,
            destination: summary.destination,
            warnings: summary.warnings,
        }
    }
}

impl From<SummaryDoc> for CommitSummary {
    fn from(doc: SummaryDoc) -> CommitSummary {
        CommitSummary {
            rows: doc.rows,
            destination: doc.destination,
            warnings: doc.warnings,
        }
    }
}

/// What remains of a run that was aborted: `"none"`, `{"rows": 3}` or `"unknown"`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ResidueDoc {
    /// Nothing.
    None,
    /// So many rows.
    Rows(u64),
    /// The sink cannot tell.
    Unknown,
}

impl From<Residue> for ResidueDoc {
    fn from(residue: Residue) -> ResidueDoc {
        match residue {
            Residue::None => ResidueDoc::None,
            Residue::Rows(rows) => ResidueDoc::Rows(rows),
            Residue::Unknown => ResidueDoc::Unknown,
        }
    }
}

impl From<ResidueDoc> for Residue {
    fn from(doc: ResidueDoc) -> Residue {
        match doc {
            ResidueDoc::None => Residue::None,
            ResidueDoc::Rows(rows) => Residue::Rows(rows),
            ResidueDoc::Unknown => Residue::Unknown,
        }
    }
}

/// One option that is wrong.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct InvalidDoc {
    /// The key, relative to the options; empty for all of them.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

/// One option that a sink takes.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct TakenDoc {
    /// The key.
    pub name: String,
    /// What may be written there, and the default.
    #[serde(default)]
    pub value: String,
    /// What it does, in a line.
    #[serde(default)]
    pub about: String,
}

impl TakenDoc {
    /// Takes what crosses of `option`.
    pub fn of(option: &OptionDoc) -> TakenDoc {
        TakenDoc {
            name: option.name.to_owned(),
            value: option.value.to_owned(),
            about: option.about.to_owned(),
        }
    }
}

/// Reads a document.
pub fn read<'d, T: Deserialize<'d>>(what: &str, json: &'d str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| {
        Error::new(ErrorKind::Other, format!("{what} is not what it should be")).with_source(error)
    })
}

/// Writes a document.
pub fn write(doc: &impl Serialize) -> String {
    serde_json::to_string(doc).expect("documents have text keys and finite numbers")
}

fn parsed<T: FromStr<Err = jiff::Error>>(text: &str) -> Result<T> {
    text.parse().map_err(|error| {
        Error::new(ErrorKind::Other, "a time has another form than it should").with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_crosses_and_is_the_same() {
        let days = DayRange {
            first: "2024-01-01".parse().expect("a date"),
            last: "2024-01-02".parse().expect("a date"),
            start_us: -1,
            end_us: i64::MAX,
        };
        for extent in [Extent::Whole, Extent::Page(3), Extent::Days(days)] {
            let info = PartitionInfo {
                id: PartitionId(7),
                label: "page \"7\"\n".to_owned(),
                extent,
            };
            let json = write(&PartitionDoc::of(&info));
            let doc: PartitionDoc = read("a partition", &json).expect("it reads");
            assert_eq!(doc.info().expect("it is whole"), info);
        }
    }

    #[test]
    fn residues_have_the_form_that_the_header_says() {
        assert_eq!(write(&ResidueDoc::from(Residue::None)), r#""none""#);
        assert_eq!(write(&ResidueDoc::from(Residue::Rows(3))), r#"{"rows":3}"#);
        assert_eq!(write(&ResidueDoc::from(Residue::Unknown)), r#""unknown""#);
    }
}
