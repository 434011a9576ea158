//! What is measured.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::measure::{self, Taken};
use super::{Failure, run};

/// The days of the sample, which the events are spread over.
pub const DAYS: (&str, &str) = ("2024-01-01", "2024-01-14");

/// The days that long events are spread over.
pub const LONG_DAYS: u16 = 30;

/// Everything that a case needs.
pub struct Setup {
    pub work: PathBuf,
    pub mixflow: PathBuf,
    /// Where the Python packages of the peers are.
    pub packages: OsString,
    /// Whether `mixpanel-utils` is there.
    pub utils: bool,
    /// Whether `tap-mixpanel` is there.
    pub tap: bool,
    pub events_url: String,
    /// Events of 900 bytes, evenly on [`LONG_DAYS`] days.
    pub long_url: String,
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

/// Two of them, for peers that take a minute for more.
const TWO_DAYS: (&str, &str) = ("2024-01-05", "2024-01-06");

/// How others get events.
const PEERS: &str = include_str!("peers.py");

/// The files that the peers read.
const EVENTS: &str = "events.jsonl.gz";
const LONG_EVENTS: &str = "long.jsonl.gz";

/// Makes a column of each property, the 25 fullest.
const AUTO: &str = "[[transform]]\ntype = \"extract\"\ncolumns = \"auto\"\nmax_columns = 25\n";

/// How DuckDB alone gets the same table, from the file.
const PEER: &str = r#"
import duckdb, sys
source = f"""SELECT event AS event_name,
    make_timestamp(CAST(CAST(properties->>'time' AS DOUBLE) * 1000000 AS BIGINT)) AS event_time,
    properties->>'distinct_id' AS distinct_id, properties->>'/$insert_id' AS insert_id, properties
  FROM read_json('{sys.argv[2]}', format = 'newline_delimited',
                 columns = {{event: 'VARCHAR', properties: 'JSON'}})"""
if sys.argv[1] == 'table':
    connection = duckdb.connect(sys.argv[3])
    connection.execute('CREATE TABLE events (event_name VARCHAR, event_time TIMESTAMP, distinct_id VARCHAR, insert_id VARCHAR, properties JSON)')
    connection.execute('INSERT INTO events ' + source)
    connection.close()
else:
    duckdb.execute(f"COPY ({source}) TO '{sys.argv[3]}' (FORMAT parquet, COMPRESSION zstd)")
"#;

impl Setup {
    /// Prepares the files of the cases, and returns them in their order.
    pub fn cases(&self) -> Result<Vec<Case>, Failure> {
        std::fs::write(self.work.join("peer.py"), PEER)?;
        let curl = |server: &str, more: &[&str]| -> Vec<String> {
            let fixed = ["curl", "-sSf", "-u", "sim:sim-secret"];
            let all = fixed.iter().chain(more).copied();
            let days = format!("from_date={}&to_date=2024-01-30", DAYS.0);
            let url = format!("{server}/api/2.0/export?project_id=1&{days}");
            all.map(str::to_owned).chain([url]).collect()
        };
        // The files that the peers read, as they come over the wire.
        for (server, file) in [(&self.events_url, EVENTS), (&self.long_url, LONG_EVENTS)] {
            let gzip = curl(server, &["-H", "accept-encoding: gzip", "-o", file]);
            run(Command::new(&gzip[0])
                .args(&gzip[1..])
                .current_dir(&self.work))?;
        }

        let python = |what: &str, file: &str, output: &str| {
            let command = ["python3", "peer.py", what, file, output];
            command.map(str::to_owned).to_vec()
        };
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
        let curl_to_file = curl(&self.events_url, &["--compressed", "-o", "curl.jsonl"]);
        let naive = [naive.as_str(), "naive", EVENTS].map(str::to_owned);
        let duckdb = "path = \"out.db\"\n";
        let mut cases = vec![
            case(
                "duckdb read_json, INSERT",
                None,
                python("table", EVENTS, "peer.db"),
                "peer.db",
            ),
            case(
                "mixflow to DuckDB",
                Some(("duckdb read_json, INSERT", 0.5)),
                self.pipeline("duckdb", duckdb)?,
                "out.db",
            ),
            case(
                "mixflow to DuckDB, typed columns",
                Some(("mixflow to DuckDB", 1.3)),
                self.typed_pipeline()?,
                "typed.db",
            ),
            case(
                "duckdb, events of 900 bytes",
                None,
                python("table", LONG_EVENTS, "peer-long.db"),
                "peer-long.db",
            ),
            case(
                "mixflow, events of 900 bytes",
                Some(("duckdb, events of 900 bytes", 0.55)),
                self.long_pipeline(LONG_DAYS, 1, "")?,
                "long.db",
            ),
            case(
                "mixflow, 30 windows, 1 worker",
                Some(("duckdb, events of 900 bytes", 0.55)),
                self.long_pipeline(1, 1, "")?,
                "long.db",
            ),
            case(
                "mixflow, 30 windows, 2 workers",
                Some(("duckdb, events of 900 bytes", 0.55)),
                self.long_pipeline(1, 2, "")?,
                "long.db",
            ),
            case(
                "mixflow, 30 windows, 4 workers",
                Some(("duckdb, events of 900 bytes", 0.55)),
                self.long_pipeline(1, 4, "")?,
                "long.db",
            ),
            case(
                "mixflow, 30 windows, typed",
                Some(("mixflow, 30 windows, 2 workers", 1.3)),
                self.long_pipeline(1, 2, AUTO)?,
                "long.db",
            ),
            case(
                "duckdb read_json, COPY",
                None,
                python("parquet", EVENTS, "peer.parquet"),
                "peer.parquet",
            ),
            case(
                "mixflow to Parquet",
                Some(("duckdb read_json, COPY", 0.42)),
                self.pipeline("parquet", "path = \"out.parquet\"\n")?,
                "out.parquet",
            ),
            case("curl --compressed > file", None, curl_to_file, "curl.jsonl"),
            piped(
                "mixflow to stdout, normalised",
                Some(("curl --compressed > file", 0.75)),
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
                Some(("profiles, sequential", 1.0 / 4.6)),
                self.profiles(5)?,
            ),
        ];
        let other = |package: &str| {
            let (first, last) = TWO_DAYS;
            let command = ["python3", "peers.py", package, &self.long_url, first, last];
            command.map(str::to_owned).to_vec()
        };
        std::fs::write(self.work.join("peers.py"), PEERS)?;
        if self.tap {
            cases.push(piped("tap-mixpanel, two days", None, other("tap-mixpanel")));
        }
        if self.utils {
            let mut command = other("mixpanel-utils");
            command.push("utils.json".to_owned());
            cases.push(case(
                "mixpanel-utils, two days",
                None,
                command,
                "utils.json",
            ));
        }
        cases.push(piped(
            "mixflow to stdout, two days",
            self.utils.then_some(("mixpanel-utils, two days", 0.25)),
            self.two_days()?,
        ));
        Ok(cases)
    }

    pub fn run(&self, case: &Case) -> Result<Taken, Failure> {
        let output = self.work.join(case.output);
        if output.exists() {
            std::fs::remove_file(&output)?;
        }
        let stdout = case.stdout.then_some(output.as_path());
        measure::run(&case.command, &self.work, &self.packages, stdout)
    }

    /// Returns the size of a file that a case has made, in megabytes.
    #[expect(clippy::cast_precision_loss, reason = "a figure that a person reads")]
    pub fn size_mb(&self, name: &str) -> Result<f64, Failure> {
        Ok(std::fs::metadata(self.work.join(name))?.len() as f64 / 1e6)
    }

    fn pipeline(&self, sink: &str, options: &str) -> Result<Vec<String>, Failure> {
        let name = format!("{sink}{}.toml", options.len());
        self.write(&name, &self.source(), sink, options, 1)
    }

    /// Returns the run into DuckDB with a column for each property.
    fn typed_pipeline(&self) -> Result<Vec<String>, Failure> {
        let sink = format!("path = \"typed.db\"\n{AUTO}");
        self.write("typed.toml", &self.source(), "duckdb", &sink, 1)
    }

    /// Returns the source of the events of the sample, in one window.
    fn source(&self) -> String {
        let (from, to) = DAYS;
        let url = &self.events_url;
        format!(
            "type = \"mixpanel_events\"\nbase_url = \"{url}\"\nfrom = \"{from}\"\nto = \"{to}\"\nwindow_days = 14\n"
        )
    }

    /// Returns the run of the long events, so many days a window.
    fn long_pipeline(
        &self,
        window_days: u16,
        workers: usize,
        transform: &str,
    ) -> Result<Vec<String>, Failure> {
        let source = format!(
            "type = \"mixpanel_events\"\nbase_url = \"{}\"\nfrom = \"{}\"\nto = \"2024-01-{LONG_DAYS}\"\nwindow_days = {window_days}\n",
            self.long_url, DAYS.0
        );
        let name = format!("long{window_days}-{workers}-{}.toml", transform.len());
        let sink = format!("path = \"long.db\"\n{transform}");
        self.write(&name, &source, "duckdb", &sink, workers)
    }

    fn two_days(&self) -> Result<Vec<String>, Failure> {
        let (first, last) = TWO_DAYS;
        let url = &self.long_url;
        let source = format!(
            "type = \"mixpanel_events\"\nbase_url = \"{url}\"\nfrom = \"{first}\"\nto = \"{last}\"\nwindow_days = 2\n"
        );
        self.write("two-days.toml", &source, "jsonl", "", 1)
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
            "[source]\n{source}project_id = 1\nauth = {{ username = \"sim\", secret = {{ env = \"BENCH_SECRET\" }} }}\nlimits = {{ per_second = 1000, per_hour = 1000000 }}\n[sink]\ntype = \"{sink}\"\n{options}[run]\nworkers = {workers}\n"
        );
        std::fs::write(self.work.join(name), text)?;
        let mixflow: &Path = &self.mixflow;
        let mixflow = mixflow.display().to_string();
        Ok([mixflow.as_str(), "run", "-q", name]
            .map(str::to_owned)
            .to_vec())
    }
}
