//! Plans, units and commits: one run on several machines.

mod adopted;
mod buckets;
mod commits;
mod plans;
mod units;

use std::process::Child;

use mixflow_tests::sim::Simulator;
use serde_json::Value;

use crate::support::{Place, Ran, events, pipeline};

/// What the pipelines of these tests write to.
const SINK: &str = "[sink]\ntype = \"duckdb\"\npath = \"out.db\"\nmode = \"replace_window\"\n";

/// Machines that share nothing but a stage and a plan.
struct Machines {
    place: Place,
    /// What all of them have in their environment.
    environment: Vec<(&'static str, String)>,
    stage: &'static str,
}

impl Machines {
    /// Plans a pipeline text, in `plan.json`.
    fn planning(pipeline: &str) -> Machines {
        let machines = Machines::at(Place::new());
        machines.place.write("test.toml", pipeline);
        machines.plan(&[]).ended(0);
        machines
    }

    fn at(place: Place) -> Machines {
        Machines {
            place,
            environment: Vec::new(),
            stage: "stage",
        }
    }

    /// Plans the days of the sample, from one to another.
    fn of_days(sim: &Simulator, first: u8, last: u8) -> Machines {
        Machines::planning(&days(sim, first, last, SINK))
    }

    fn plan(&self, more: &[&str]) -> Ran {
        let mut args = vec!["plan", "test.toml", "--output", "plan.json"];
        args.extend(more);
        self.place.mixflow(&args)
    }

    fn planned(&self) -> Value {
        serde_json::from_str(&self.place.read("plan.json")).unwrap()
    }

    fn keys(&self) -> Vec<String> {
        let plan = self.planned();
        let units = plan["units"].as_array().unwrap().iter();
        units
            .map(|unit| unit["key"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Begins a command on machine `n`.
    fn begin(&self, n: usize, args: &[&str]) -> Child {
        let mut command = self.place.command(args);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("MIXFLOW_STATE_DIR", self.place.path(format!("machine-{n}")));
        command.stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    }

    fn on(&self, n: usize, args: &[&str]) -> Ran {
        Ran::of(self.begin(n, args).wait_with_output().unwrap())
    }

    /// Runs a unit on machine `n`.
    fn unit(&self, n: usize, index: usize) -> Ran {
        self.on(n, &unit(&index.to_string(), self.stage))
    }

    fn receipt(&self, n: usize, index: usize) -> Value {
        let ran = self.unit(n, index).ended(0);
        serde_json::from_slice(&ran.stdout).unwrap()
    }

    fn commit(&self, n: usize, more: &[&str]) -> Ran {
        let mut args = vec!["commit", "--plan", "plan.json", "--stage", self.stage];
        args.extend(more);
        self.on(n, &args)
    }

    /// Returns the names of what is on the stage below a folder of the plan.
    fn staged(&self, folder: &str) -> Vec<String> {
        let plan = self.planned();
        let plan = plan["plan_id"].as_str().unwrap();
        let folder = self.place.path(format!("stage/{plan}/{folder}"));
        let Ok(entries) = std::fs::read_dir(folder) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Returns the rows of a database here, in an order of their own.
    fn rows(&self, db: &str) -> Vec<Vec<String>> {
        self.place.sql(db, "SELECT * FROM events ORDER BY ALL")
    }
}

fn days(sim: &Simulator, first: u8, last: u8, sink: &str) -> String {
    let days = format!("from = \"2024-01-{first:02}\"\nto = \"2024-01-{last:02}\"");
    pipeline(&[&events(sim, &days), sink])
}

/// Returns the arguments that run a unit.
fn unit<'a>(index: &'a str, stage: &'a str) -> [&'a str; 8] {
    [
        "unit",
        "run",
        "--plan",
        "plan.json",
        "--index",
        index,
        "--stage",
        stage,
    ]
}
