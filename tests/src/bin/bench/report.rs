//! Medians and ratios, as a table, as JSON and as a picture.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::Failure;
use super::cases::{Case, Setup};
use super::measure::Taken;

/// What came of a benchmark.
#[derive(Debug, Serialize)]
pub struct Results {
    cores: usize,
    events: usize,
    profiles: usize,
    rounds: usize,
    cases: Vec<CaseResult>,
    files_mb: Vec<(String, f64)>,
}

#[derive(Debug, Serialize)]
struct CaseResult {
    name: String,
    seconds: f64,
    cpu_seconds: f64,
    peak_mb: f64,
    peer: Option<String>,
    ratio: Option<f64>,
    aim: Option<f64>,
    all: Vec<Taken>,
}

impl Results {
    pub fn new(events: usize, profiles: usize, rounds: usize) -> Results {
        Results {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            events,
            profiles,
            rounds,
            cases: Vec::new(),
            files_mb: Vec::new(),
        }
    }

    #[expect(clippy::print_stderr, reason = "a benchmark says what it does")]
    pub fn add(&mut self, case: &Case, taken: Taken, round: usize) {
        eprintln!(
            "round {}: {:<32} {:.2} s",
            round + 1,
            case.name,
            taken.seconds
        );
        let known = self.cases.iter().position(|known| known.name == case.name);
        let n = known.unwrap_or_else(|| {
            self.cases.push(CaseResult {
                name: case.name.to_owned(),
                seconds: 0.0,
                cpu_seconds: 0.0,
                peak_mb: 0.0,
                peer: case.peer.map(|(peer, _)| peer.to_owned()),
                ratio: None,
                aim: case.peer.map(|(_, aim)| aim),
                all: Vec::new(),
            });
            self.cases.len() - 1
        });
        self.cases[n].all.push(taken);
    }

    pub fn sizes(&mut self, setup: &Setup) -> Result<(), Failure> {
        for name in [
            "out.db",
            "peer.db",
            "typed.db",
            "long.db",
            "peer-long.db",
            "out.parquet",
            "peer.parquet",
        ] {
            self.files_mb.push((name.to_owned(), setup.size_mb(name)?));
        }
        Ok(())
    }

    #[expect(clippy::print_stdout, reason = "the table is what was asked for")]
    pub fn write(mut self, output: &Path) -> Result<(), Failure> {
        for case in &mut self.cases {
            case.seconds = median(case.all.iter().map(|taken| taken.seconds));
            case.cpu_seconds = median(case.all.iter().map(|taken| taken.cpu_seconds));
            case.peak_mb = median(case.all.iter().map(|taken| taken.peak_mb));
        }
        let seconds: Vec<(String, f64)> = self
            .cases
            .iter()
            .map(|case| (case.name.clone(), case.seconds))
            .collect();
        for case in &mut self.cases {
            let peer = seconds
                .iter()
                .find(|(name, _)| Some(name) == case.peer.as_ref());
            case.ratio = peer.map(|(_, peer)| case.seconds / peer);
        }
        print!("{}", self.table());
        std::fs::write(
            output.join("results.json"),
            serde_json::to_string_pretty(&self)?,
        )?;
        Ok(std::fs::write(output.join("results.svg"), self.picture())?)
    }

    fn table(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} events, {} profiles; median of {} rounds on {} cores\n",
            self.events, self.profiles, self.rounds, self.cores
        );
        let _ = writeln!(
            text,
            "| case | seconds | ratio | aim | CPU s | peak MB |\n|---|---:|---:|---:|---:|---:|"
        );
        for case in &self.cases {
            let figure = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.2}"));
            let _ = writeln!(
                text,
                "| {} | {:.2} | {} | {} | {:.2} | {:.0} |",
                case.name,
                case.seconds,
                figure(case.ratio),
                figure(case.aim),
                case.cpu_seconds,
                case.peak_mb
            );
        }
        let sizes: Vec<String> = self
            .files_mb
            .iter()
            .map(|(name, mb)| format!("{name} {mb:.0} MB"))
            .collect();
        let _ = writeln!(text, "\nfiles: {}", sizes.join(", "));
        text
    }

    /// Bars, a case each, with groups by their peer.
    fn picture(&self) -> String {
        const ROW: usize = 26;
        let longest = self
            .cases
            .iter()
            .map(|case| case.seconds)
            .fold(0.1, f64::max);
        let height = self.cases.len() * ROW + 60;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 {height}\" role=\"img\" aria-label=\"Seconds for each case\">\n\
             <style>text{{font:13px sans-serif;fill:#222}}.t{{font-weight:bold}}.m{{fill:#2563eb}}.p{{fill:#9ca3af}}\
             @media(prefers-color-scheme:dark){{text{{fill:#e5e7eb}}.p{{fill:#6b7280}}.m{{fill:#60a5fa}}}}</style>\n\
             <text class=\"t\" x=\"8\" y=\"22\">Seconds for {} events ({} profiles), less is better</text>\n",
            self.events, self.profiles
        );
        for (n, case) in self.cases.iter().enumerate() {
            let y = 40 + n * ROW;
            let width = (case.seconds / longest * 400.0).max(1.0);
            let class = if case.peer.is_some() { "m" } else { "p" };
            let ratio = match case.ratio {
                Some(ratio) => format!(" ({ratio:.2} ×)"),
                None => String::new(),
            };
            let name = case.name.replace('&', "&amp;").replace('>', "&gt;");
            let _ = writeln!(
                svg,
                "<text x=\"240\" y=\"{}\" text-anchor=\"end\">{name}</text>\
                 <rect class=\"{class}\" x=\"250\" y=\"{y}\" width=\"{width:.0}\" height=\"18\" rx=\"2\"/>\
                 <text x=\"{:.0}\" y=\"{}\">{:.2} s{ratio}</text>",
                y + 14,
                258.0 + width,
                y + 14,
                case.seconds
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
