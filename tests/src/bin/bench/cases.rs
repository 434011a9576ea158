//! What is measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::measure::{self, Taken};
use super::{Failure, run};

/// The days of the sample, which the events are spread over.
const DAYS: (&str, &str) = ("2024-01-01", "2024-01-14");

/// Everything that a case needs.
pub struct Setup {
    pub work: PathBuf,
    pub mixflow: PathBuf,
    /// Where the Python package of the peer is.
    pub packages: PathBuf,
    pub events_url: String,
    pub profiles_url: String,
}

/// One thing that is measured, again and again.
pub struct Case {
    pub name: &'static str,
    /// The case that it is compared with, and the ratio that is the aim.
    pub peer: Option<(&'static str, f64)>,
    command: Vec<String>,
    /// A file that the case makes anew, or its stdout.
    output: &'static str,
    stdout: bool,
}

/// How DuckDB alone gets the same table, from the file.
const PEER: &str = r#"
import duckdb, sys
source = """SELECT event AS event_name,
    make_timestamp(CAST(CAST(properties->>'time' AS DOUBLE) * 1000000 AS BIGINT)) AS event_time,
    properties->>'distinct_id' AS distinct_id, properties->>'/$insert_id' AS insert_id, properties
  FROM read_json('events.jsonl.gz', format = 'newline_delimited',
                 columns = {event: 'VARCHAR', properties: 'JSON'})"""
if sys.argv[1] == 'table':
    connection = duckdb.connect('peer.db')
    connection.execute('CREATE TABLE events (event_name VARCHAR, event_time TIMESTAMP, distinct_id VARCHAR, insert_id VARCHAR, properties JSON)')
    connection.execute('INSERT INTO events ' + source)
    connection.close()
else:
    duckdb.execute(f"COPY ({source}) TO 'peer.parquet' (FORMAT parquet, COMPRESSION zstd)")
"#;

impl Setup {
    /// Prepares the files of the cases, and returns them in their order.
    pub fn cases(&self) -> Result<Vec<Case>, Failure> {
        std::fs::write(self.work.join("peer.py"), PEER)?;
        let url = format!(
            "{}/api/2.0/export?project_id=1&from_date={}&to_date={}",
            self.events_url, DAYS.0, DAYS.1
        );
        let curl = |more: &[&str]| -> Vec<String> {
            let fixed = ["curl", "-sSf", "-u", "sim:sim-secret"];
            let all = fixed.iter().chain(more).copied();
            all.map(str::to_owned).chain([url.clone()]).collect()
        };
        // The file that the peers read, as it comes over the wire.
        let gzip = curl(&["-H", "accept-encoding: gzip", "-o", "events.jsonl.gz"]);
        run(Command::new(&gzip[0])
            .args(&gzip[1..])
            .current_dir(&self.work))?;

        let python = |what: &str| ["python3", "peer.py", what].map(str::to_owned).to_vec();
        let naive = std::env::current_exe()?.display().to_string();
        let case = |name, peer, command, output| Case {
            name,
            peer,
            command,
            output,
            stdout: false,
        };
        let piped = |name, peer, command| Case {
            name,
            peer,
            command,
            output: "stdout",
            stdout: true,
        };
        let curl_to_file = curl(&["--compressed", "-o", "curl.jsonl"]);
        let naive = [naive.as_str(), "naive", "events.jsonl.gz"].map(str::to_owned);
        Ok(vec![
            case("duckdb read_json, INSERT", None, python("table"), "peer.db"),
            case(
                "mixflow to DuckDB",
                Some(("duckdb read_json, INSERT", 0.8)),
                self.pipeline("duckdb", "path = \"out.db\"\n")?,
                "out.db",
            ),
            case(
                "duckdb read_json, COPY",
                None,
                python("parquet"),
                "peer.parquet",
            ),
            case(
                "mixflow to Parquet",
                Some(("duckdb read_json, COPY", 0.7)),
                self.pipeline("parquet", "path = \"out.parquet\"\n")?,
                "out.parquet",
            ),
            case("curl --compressed > file", None, curl_to_file, "curl.jsonl"),
            piped(
                "mixflow to stdout, normalised",
                Some(("curl --compressed > file", 1.5)),
                self.pipeline("jsonl", "")?,
            ),
            piped(
                "mixflow to stdout, raw",
                Some(("curl --compressed > file", 1.15)),
                self.pipeline("jsonl", "format = \"raw\"\n")?,
            ),
            piped("serde_json values, from file", None, naive.to_vec()),
            piped("profiles, sequential", None, self.profiles(1)?),
            piped(
                "profiles, 5 workers",
                Some(("profiles, sequential", 1.0 / 4.5)),
                self.profiles(5)?,
            ),
        ])
    }

    pub fn run(&self, case: &Case) -> Result<Taken, Failure> {
        let output = self.work.join(case.output);
        if output.exists() {
            std::fs::remove_file(&output)?;
        }
        let stdout = case.stdout.then_some(output.as_path());
        measure::run(&case.command, self, stdout)
    }

    /// Returns the size of a file that a case has made, in megabytes.
    #[expect(clippy::cast_precision_loss, reason = "a figure that a person reads")]
    pub fn size_mb(&self, name: &str) -> Result<f64, Failure> {
        Ok(std::fs::metadata(self.work.join(name))?.len() as f64 / 1e6)
    }

    fn pipeline(&self, sink: &str, options: &str) -> Result<Vec<String>, Failure> {
        let (from, to) = DAYS;
        let source = format!(
            "type = \"mixpanel_events\"\nbase_url = \"{}\"\nfrom = \"{from}\"\nto = \"{to}\"\nwindow_days = 14\n",
            self.events_url
        );
        let name = format!("{sink}{}.toml", options.len());
        self.write(&name, &source, sink, options, 1)
    }

    fn profiles(&self, workers: usize) -> Result<Vec<String>, Failure> {
        let source = format!(
            "type = \"mixpanel_profiles\"\nbase_url = \"{}\"\n",
            self.profiles_url
        );
        let name = format!("profiles{workers}.toml");
        self.write(&name, &source, "jsonl", "", workers)
    }

    fn write(
        &self,
        name: &str,
        source: &str,
        sink: &str,
        options: &str,
        workers: usize,
    ) -> Result<Vec<String>, Failure> {
        let text = format!(
            "[source]\n{source}project_id = 1\nauth = {{ username = \"sim\", secret = {{ env = \"BENCH_SECRET\" }} }}\nlimits = {{ per_hour = 1000000 }}\n[sink]\ntype = \"{sink}\"\n{options}[run]\nworkers = {workers}\n"
        );
        std::fs::write(self.work.join(name), text)?;
        let mixflow: &Path = &self.mixflow;
        let mixflow = mixflow.display().to_string();
        Ok([mixflow.as_str(), "run", "-q", name]
            .map(str::to_owned)
            .to_vec())
    }
}
