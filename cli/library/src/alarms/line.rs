//! What people read of a run, in a line.

use mixflow_core::config::Occasion;
use mixflow_core::report::RunReport;

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
            let missing = missing(&report.failed_partitions);
            format!(
                "mixflow: {name} is partial: {}; missing: {missing}",
                done(report)
            )
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
    let place = &report.destination;
    format!("committed {} row{s} to {place}", report.row_count)
}

fn missing(labels: &[String]) -> String {
    let named = labels[..labels.len().min(NAMED)].join(", ");
    match labels.len() - labels.len().min(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
