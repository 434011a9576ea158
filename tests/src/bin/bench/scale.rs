//! What it costs to share a run among machines, and what it brings.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::measure::Taken;
use super::{Failure, Sim, measure};

/// Rounds, each with every case once; the median counts.
const ROUNDS: usize = 3;

/// The events of the cases that look at the cost.
const EVENTS: &str = "1000000";

/// The days that the simulator makes up, each a unit.
const DAYS: usize = 30;

/// What a run and its commit write to.
const SINKS: [(&str, &str); 2] = [
    (
        "DuckDB",
        "type = \"duckdb\"\npath = \"out.db\"\nmode = \"replace\"\n",
    ),
    (
        "Parquet",
        "type = \"parquet\"\npath = \"out\"\npartition_by = \"date\"\nmode = \"replace\"\n",
    ),
];

/// Measures two workers against one, a plan with its units and commit against a run,
/// and a plan of many units, and prints a table of each.
pub fn measure(mixflow: &Path, output: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(output)?;
    let work = tempfile::tempdir_in(output)?;
    let bench = Bench {
        mixflow: std::path::absolute(mixflow)?.display().to_string(),
        work: work.path().to_owned(),
    };
    bench.two_workers()?;
    bench.cost()?;
    bench.many_units()
}

struct Bench {
    mixflow: String,
    work: PathBuf,
}

#[expect(clippy::print_stdout, reason = "the tables are what was asked for")]
impl Bench {
    /// 30 units whose answers take 200 ms, by one worker and by two.
    fn two_workers(&self) -> Result<(), Failure> {
        let sim = Sim::start(&["--generate-events", "3000", "--latency", "200ms"])?;
        println!("\n| {DAYS} units of 200 ms | seconds | times as fast |\n|---|---:|---:|");
        let mut medians = Vec::new();
        for workers in [1, 2] {
            let mut seconds = Vec::new();
            for round in 0..ROUNDS {
                let place = self.place(&format!("workers-{workers}-{round}"))?;
                self.plan(&place, &sim.url, SINKS[0].1, DAYS)?;
                seconds.push(self.units(&place, workers, 1)?.seconds);
            }
            medians.push(median(seconds));
            let median = medians[medians.len() - 1];
            println!(
                "| workers: {workers} | {median:.2} | {:.2} |",
                medians[0] / median
            );
        }
        Ok(())
    }

    /// A million events by one run, and by a plan, its units, and a commit.
    fn cost(&self) -> Result<(), Failure> {
        let sim = Sim::start(&["--spread-days", "30", "--amplify-events", EVENTS])?;
        println!(
            "\n| {EVENTS} events, {DAYS} units, 2 workers | run s | plan s | units s | commit s | together | CPU s of run | CPU s of all |\n|---|---:|---:|---:|---:|---:|---:|---:|"
        );
        let cases = SINKS.iter().flat_map(|sink| [(sink, 1), (sink, DAYS / 2)]);
        for ((name, sink), at_once) in cases {
            let mut rounds: Vec<[f64; 6]> = Vec::new();
            for round in 0..ROUNDS {
                let round = format!("{name}-{at_once}-{round}");
                let place = self.place(&format!("run-{round}"))?;
                self.pipeline(&place, &sim.url, sink, DAYS)?;
                let run = self.mixflow(&place, &["run", "-q", "scale.toml"])?;
                let place = self.place(&format!("units-{round}"))?;
                let plan = self.plan(&place, &sim.url, sink, DAYS)?;
                let units = self.units(&place, 2, at_once)?;
                let commit = ["commit", "-q", "--plan", "plan.json", "--stage", "stage"];
                let commit = self.mixflow(&place, &commit)?;
                rounds.push([
                    run.seconds,
                    plan.seconds,
                    units.seconds,
                    commit.seconds,
                    run.cpu_seconds,
                    plan.cpu_seconds + units.cpu_seconds + commit.cpu_seconds,
                ]);
            }
            let figure = |n: usize| median(rounds.iter().map(|round| round[n]).collect());
            let together = rounds
                .iter()
                .map(|round| (round[1] + round[2] + round[3]) / round[0]);
            println!(
                "| {name}, units a process: {at_once} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} × | {:.1} | {:.1} |",
                figure(0),
                figure(1),
                figure(2),
                figure(3),
                median(together.collect()),
                figure(4),
                figure(5)
            );
        }
        Ok(())
    }

    /// Plans of 100,000 units: of one pipeline, and of a thousand projects.
    fn many_units(&self) -> Result<(), Failure> {
        println!("\n| a plan of | seconds | peak MB | file MB |\n|---|---:|---:|---:|");
        let place = self.place("plans")?;
        let url = "http://127.0.0.1:1";
        let sink = "type = \"duckdb\"\npath = \"{project}.db\"\n";
        let projects: String = (0..1_000)
            .map(|n| format!("[[project]]\nid = {n}\n"))
            .collect();
        let days = |from: &str, to: &str| source(url, sink, from, to);
        let texts = [
            (
                "100,000 days of a project",
                days("1800-01-01", "2073-10-15").replace("{project}", "one"),
            ),
            (
                "100 days of each of 1,000 projects",
                projects + &days("2024-01-01", "2024-04-09"),
            ),
        ];
        for (name, text) in texts {
            std::fs::write(place.join("scale.toml"), text)?;
            let plan = ["plan", "-q", "scale.toml", "--output", "plan.json"];
            let taken = self.mixflow(&place, &plan)?;
            let mb = std::fs::metadata(place.join("plan.json"))?.len() / 1_000_000;
            println!(
                "| {name} | {:.2} | {:.0} | {mb} |",
                taken.seconds, taken.peak_mb
            );
        }
        Ok(())
    }

    fn place(&self, name: &str) -> Result<PathBuf, Failure> {
        let place = self.work.join(name);
        std::fs::create_dir_all(&place)?;
        Ok(place)
    }

    fn pipeline(&self, place: &Path, url: &str, sink: &str, days: usize) -> Result<(), Failure> {
        let last = format!("2024-01-{days:02}");
        let text = source(url, sink, "2024-01-01", &last);
        Ok(std::fs::write(place.join("scale.toml"), text)?)
    }

    fn plan(&self, place: &Path, url: &str, sink: &str, days: usize) -> Result<Taken, Failure> {
        self.pipeline(place, url, sink, days)?;
        self.mixflow(
            place,
            &["plan", "-q", "scale.toml", "--output", "plan.json"],
        )
    }

    fn mixflow(&self, place: &Path, args: &[&str]) -> Result<Taken, Failure> {
        let command = [self.mixflow.as_str()]
            .into_iter()
            .chain(args.iter().copied());
        let command: Vec<String> = command.map(str::to_owned).collect();
        measure::run(&command, place, OsStr::new(""), None)
    }

    /// Runs all units of a plan, by so many workers: each has one process after the
    /// other, as a cluster's tasks do, for so many units each.
    fn units(&self, place: &Path, workers: usize, at_once: usize) -> Result<Taken, Failure> {
        let started = Instant::now();
        let taken: Result<Vec<Taken>, String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers)
                .map(|n| scope.spawn(move || self.worker(place, n, workers, at_once)))
                .collect();
            let ends = threads.into_iter().map(|thread| match thread.join() {
                Ok(taken) => taken,
                Err(_) => Err("a worker panicked".to_owned()),
            });
            ends.collect()
        });
        let taken = taken?;
        Ok(Taken {
            seconds: started.elapsed().as_secs_f64(),
            cpu_seconds: taken.iter().map(|taken| taken.cpu_seconds).sum(),
            peak_mb: taken.iter().map(|taken| taken.peak_mb).sum(),
        })
    }

    fn worker(
        &self,
        place: &Path,
        n: usize,
        workers: usize,
        at_once: usize,
    ) -> Result<Taken, String> {
        let (mixflow, own) = (&self.mixflow, place.join(format!("worker-{n}")));
        std::fs::create_dir_all(&own).map_err(|error| error.to_string())?;
        let place = place.display();
        let (first, step, last) = (n * at_once, workers * at_once, DAYS - 1);
        let others = at_once - 1;
        let script = format!(
            "for n in $(seq {first} {step} {last}); do \
             {mixflow} unit run -q --plan {place}/plan.json --index $n-$((n + {others})) --stage {place}/stage || exit 1; done"
        );
        let command = ["sh", "-c", &script].map(str::to_owned);
        measure::run(&command, &own, OsStr::new(""), None).map_err(|error| error.to_string())
    }
}

/// Returns a pipeline whose days are units.
fn source(url: &str, sink: &str, from: &str, to: &str) -> String {
    format!(
        "[source]\ntype = \"mixpanel_events\"\nbase_url = \"{url}\"\nproject_id = 1\nfrom = \"{from}\"\nto = \"{to}\"\nwindow_days = 1\n\
         auth = {{ username = \"sim\", secret = {{ env = \"BENCH_SECRET\" }} }}\n\
         limits = {{ per_second = 1000, per_hour = 1000000 }}\n[sink]\n{sink}[run]\nworkers = 2\n"
    )
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}
