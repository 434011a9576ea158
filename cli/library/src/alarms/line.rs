//! What people read of a run, in a line.

use mixflow_core::Error;
use mixflow_core::config::Occasion;
use mixflow_core::report::{RunReport, SinkReport, Status};

/// So many labels of what is missing are named.
const NAMED: usize = 10;

/// More of a line is not shown: it may have a server's text in it.
const LONGEST: usize = 600;

/// Says how a run ended.
///
/// Slack takes `&`, `<` and `>` for orders, so these are written as it asks for.
pub(super) fn line(occasion: Occasion, report: &RunReport) -> String {
    let name = &report.pipeline;
    let text = match occasion {
        Occasion::Failed => {
            let why = report.error.as_ref().map(|error| error.in_a_line());
            let why = why.unwrap_or_else(|| "it is not known why".to_owned());
            format!("mixflow: {name} failed: {why}")
        }
        Occasion::Partial => {
            let (done, lacking) = (done(report), lacking(report));
            format!("mixflow: {name} is partial: {done}; {lacking}")
        }
        Occasion::Recovered => format!("mixflow: {name} has recovered: {}", done(report)),
        Occasion::Committed => format!("mixflow: {name}: {}", done(report)),
    };
    let text = text.replace(char::is_control, " ");
    let mut line: String = text.chars().take(LONGEST).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn done(report: &RunReport) -> String {
    let s = if report.row_count == 1 { "" } else { "s" };
    let stands = |sink: &&SinkReport| sink.status != Status::Aborted;
    let sinks = report.sinks.iter().filter(stands);
    let places: Vec<String> = match report.sinks.as_slice() {
        [] => vec![report.destination.to_string()],
        _ => sinks.map(|sink| sink.destination.to_string()).collect(),
    };
    let places = places.join(" and ");
    format!("committed {} row{s} to {places}", report.row_count)
}

/// Says which windows are missing, and which sinks have failed.
fn lacking(report: &RunReport) -> String {
    let mut parts = Vec::new();
    if !report.failed_partitions.is_empty() {
        parts.push(format!("missing: {}", missing(&report.failed_partitions)));
    }
    parts.extend(report.failed_sinks().map(|sink| {
        let why = sink.error.as_ref().map(Error::in_a_line);
        format!("{} failed: {}", sink.destination, why.unwrap_or_default())
    }));
    parts.join("; ")
}

fn missing(labels: &[String]) -> String {
    let named = labels[..labels.len().min(NAMED)].join(", ");
    match labels.len() - labels.len().min(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use mixflow_core::ErrorKind;
    use mixflow_core::destination::Destination;

    use super::*;

    fn sink(name: &str, error: Option<&str>) -> SinkReport {
        SinkReport {
            destination: Destination::named(name),
            status: match error {
                Some(_) => Status::Aborted,
                None => Status::Committed,
            },
            error: error.map(|why| Error::new(ErrorKind::Io, "cannot write").because(why)),
            ..SinkReport::default()
        }
    }

    #[test]
    fn a_sink_that_failed_is_named_beside_those_that_stand() {
        let report = RunReport {
            pipeline: "daily".to_owned(),
            status: Status::Partial,
            row_count: 7,
            sinks: vec![
                sink("a.db", None),
                sink("b", Some("disk full")),
                sink("c", None),
            ],
            failed_partitions: vec!["2024-01-02".to_owned()],
            ..RunReport::default()
        };
        assert_eq!(
            line(Occasion::Partial, &report),
            "mixflow: daily is partial: committed 7 rows to a.db and c; missing: 2024-01-02; \
             b failed: cannot write: disk full"
        );
    }
}
