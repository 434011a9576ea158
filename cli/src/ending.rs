//! What is said of a run when it has ended: what is now where.

use jiff::Timestamp;
use mixflow_core::destination::Destination;
use mixflow_core::report::{RunReport, SinkReport, Status};
use mixflow_core::sink::Residue;
use mixflow_sink_duckdb::Store;

use crate::ui::{Ui, count, counted, seconds};

/// Whoever has waited so many seconds for a failure is told how long it was.
const WORTH_SAYING: f64 = 10.0;

/// Says what is now where, and what to do (`remedy`) if something is missing.
///
/// `left_by` is when the run ended whose windows this one has reused.
pub(crate) fn tell(ui: Ui, report: &RunReport, remedy: &str, left_by: Option<Timestamp>) {
    tell_of_rows(ui, report, left_by);
    let took = seconds(report.duration_seconds);
    let rows = counted(report.row_count, "row");
    let place = &places(report);
    let partitions = report.partitions.len() - report.failed_partitions.len();
    let partitions = counted(partitions as u64, "partition");
    let as_they_are = match report.files_taken {
        0 => String::new(),
        files => format!(", {} as they were", counted(files, "file")),
    };
    let committed = format!("committed {rows} from {partitions} to {place} in {took}{as_they_are}");
    match report.status {
        Status::Committed => ui.status(&committed),
        Status::Stopped => ui.status(&format!(
            "stopped: the reader of {place} went away after {rows}"
        )),
        Status::Partial => {
            let missing = report.failed_partitions.join(", ");
            if missing.is_empty() {
                ui.warning(&committed);
            } else {
                ui.warning(&format!("{committed}; missing: {missing}"));
            }
            tell_of_failed_sinks(ui, report);
            ui.hint(remedy);
        }
        Status::Aborted => {
            if let Some(error) = &report.error {
                ui.error(error);
            }
            match report.sinks.as_slice() {
                [] => {
                    let place = &report.destination;
                    let mut remains = match report.residue {
                        // It never was, so there is nothing to say of it.
                        Residue::None if !is_there(place) => "nothing was written".to_owned(),
                        residue => remains(residue, place),
                    };
                    if report.duration_seconds >= WORTH_SAYING {
                        remains += &format!(" (after {took})");
                    }
                    ui.note(&remains);
                }
                sinks => tell_of_sinks(ui, sinks),
            }
        }
    }
}

/// Returns where rows went: to every sink that has not failed, if one has not.
fn places(report: &RunReport) -> String {
    let failed = report.failed_sinks().map(|sink| &sink.destination);
    let failed: Vec<&Destination> = failed.collect();
    let all = report.destinations().into_iter();
    let places = all.filter(|place| !failed.contains(place));
    let places: Vec<String> = places.map(ToString::to_string).collect();
    places.join(" and ")
}

/// Says which sinks have failed while others stand.
fn tell_of_failed_sinks(ui: Ui, report: &RunReport) {
    for sink in report.failed_sinks() {
        if let Some(error) = &sink.error {
            ui.error(error);
        }
        ui.note(&remains(sink.residue, &sink.destination));
    }
}

/// Says what remains of a run of several sinks that has failed.
fn tell_of_sinks(ui: Ui, sinks: &[SinkReport]) {
    for sink in sinks {
        ui.note(&remains(sink.residue, &sink.destination));
    }
}

/// Says what is at a destination after a run that was aborted.
fn remains(residue: Residue, place: &Destination) -> String {
    match residue {
        Residue::None if !is_there(place) => format!("nothing was written to {place}"),
        Residue::None => format!("nothing was written; {place} is as it was before"),
        Residue::Rows(n) => format!(
            "{} went to {place} before that and cannot be taken back",
            counted(n, "row")
        ),
        Residue::Unknown => format!("it is not known how much went to {place}"),
    }
}

/// Whether there is anything at a destination that could have changed, as far as
/// that can be told.
fn is_there(place: &Destination) -> bool {
    let Some(path) = &place.path else {
        return true;
    };
    if !path.exists() {
        return false;
    }
    match &place.table {
        // A file that is no database, or that somebody has, is at least there.
        Some(table) => Store::open_read_only(path)
            .and_then(|store| store.table_exists(table))
            .unwrap_or(true),
        None => true,
    }
}

/// Says which rows are not there, or came from elsewhere.
fn tell_of_rows(ui: Ui, report: &RunReport, left_by: Option<Timestamp>) {
    if report.rejected > 0 {
        let file = report.reject_file.as_deref().unwrap_or("nowhere");
        let records = counted(report.rejected, "record");
        ui.warning(&format!("{records} could not be read and are in {file}"));
    }
    if let Some(line) = left_out(report) {
        ui.status(&line);
    }
    if report.duplicates > 0 {
        let rows = counted(report.duplicates, "row");
        ui.status(&format!("left out {rows} as duplicates"));
    }
    if !report.reused_partitions.is_empty() {
        let partitions = counted(report.reused_partitions.len() as u64, "partition");
        let run = match left_by {
            // Times of reports are in UTC, as those of log lines.
            Some(time) => format!("the run of {} UTC", time.strftime("%Y-%m-%d %H:%M")),
            None => "an earlier run".to_owned(),
        };
        ui.status(&format!("reused {partitions} that {run} had fetched"));
    }
}

/// Says what transforms have left out, but for duplicates, which have a line
/// of their own.
fn left_out(report: &RunReport) -> Option<String> {
    let transforms: Vec<String> = report
        .dropped
        .by_transform()
        .filter(|(kind, _)| *kind != "dedupe")
        .map(|(kind, reasons)| {
            let reasons = reasons.iter();
            let rows = reasons.map(|(reason, rows)| format!("{} ({reason})", count(*rows)));
            format!("`{kind}` left out {}", rows.collect::<Vec<_>>().join(", "))
        })
        .collect();
    let read = counted(report.read, "row");
    let kept = count(report.read.saturating_sub(report.dropped.rows(None)));
    (!transforms.is_empty()).then(|| format!("read {read}, kept {kept}: {}", transforms.join("; ")))
}
