//! What a fetch did.

use std::time::Duration;

use mixflow_core::report::{RunReport, Status};
use mixflow_core::{Error, Result};

/// What a fetch did.
#[derive(Debug)]
#[non_exhaustive]
pub struct FetchResult {
    /// The table that the rows are in; empty for a sink without tables.
    pub table: String,
    /// Rows that this fetch added.
    pub row_count: u64,
    /// `events` or `profiles`.
    pub data_type: String,
    /// The time it took.
    pub duration: Duration,
    /// The first day that was asked for, inclusive; none for profiles.
    pub from_date: Option<String>,
    /// The last day that was asked for, inclusive; none for profiles.
    pub to_date: Option<String>,
    /// When it ended, RFC 3339.
    pub completed_at: String,
    /// Everything that is known of the run.
    pub report: RunReport,
}

impl FetchResult {
    /// Returns the labels of the windows or pages that could not be had.
    pub fn missing(&self) -> &[String] {
        &self.report.failed_partitions
    }
}

impl TryFrom<RunReport> for FetchResult {
    type Error = Error;

    /// Reads a report. Fails with the error of a run that was aborted.
    fn try_from(mut report: RunReport) -> Result<FetchResult> {
        if report.status == Status::Aborted
            && let Some(error) = report.error.take()
        {
            return Err(error);
        }
        Ok(FetchResult {
            table: report.table.clone().unwrap_or_default(),
            row_count: report.row_count,
            data_type: report.data_type.to_string(),
            duration: Duration::from_secs_f64(report.duration_seconds),
            from_date: report.from_date.map(|day| day.to_string()),
            to_date: report.to_date.map(|day| day.to_string()),
            completed_at: report.completed_at.to_string(),
            report,
        })
    }
}
