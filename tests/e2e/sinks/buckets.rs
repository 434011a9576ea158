//! Tables in buckets, which several machines write to.
//!
//! On one machine a lock keeps runs to one address apart, so tests that are to run
//! at the same time have addresses of their own.

use std::process::Command;

use jiff::civil::date;
use mixflow_tests::sim::{Data, ExportQuery, Simulator};

use crate::rows::form::expected_events;
use crate::services::{AZURE_KEY, S3_SECRET, Service, azure, deaf_s3, s3};
use crate::support::{Place, Ran, events, pipeline, sim, started};

fn data() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 8), 4_000, 0, 1)
}

fn days(from: i8, to: i8) -> String {
    format!("from = \"2024-01-{from:02}\"\nto = \"2024-01-{to:02}\"\n")
}

/// Returns the ids of what the simulator has of some days, sorted, in a line.
fn expected(sim: &Simulator, from: i8, to: i8) -> String {
    let query = ExportQuery::new(date(2024, 1, from), date(2024, 1, to));
    let events = expected_events(sim, &query).into_iter();
    let mut ids: Vec<String> = events.map(|event| event.insert_id).collect();
    ids.sort();
    ids.join(" ")
}

/// A table in a bucket.
struct Table<'s> {
    service: &'s Service,
    url: &'static str,
    more: &'static str,
}

impl Table<'_> {
    fn text(&self, sim: &Simulator, from: i8, to: i8, mode: &str) -> String {
        let Table { service, url, more } = self;
        let endpoint = &service.endpoint;
        let sink = format!(
            "[sink]\ntype = \"delta\"\npath = \"{url}\"\nendpoint = \"{endpoint}\"\nmode = \"{mode}\"\n{more}"
        );
        pipeline(&[&events(sim, &days(from, to)), &sink])
    }

    fn command(&self, place: &Place, args: &[&str]) -> Command {
        let mut command = place.command(args);
        command.envs(
            self.service
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        );
        command
    }

    fn mixflow(&self, place: &Place, args: &[&str]) -> Ran {
        let ran = Ran::of(self.command(place, args).output().unwrap());
        for secret in [S3_SECRET, AZURE_KEY] {
            assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
            assert!(!ran.stdout_lossy().contains(secret));
        }
        ran
    }

    fn run(&self, place: &Place, text: &str) -> Ran {
        place.write("test.toml", text);
        let ran = self.mixflow(place, &["run", "test.toml", "--report", "report.json"]);
        let report = place.read("report.json");
        assert!(!report.contains(S3_SECRET) && !report.contains(AZURE_KEY));
        ran
    }

    /// Returns the ids of all rows as another reader sees them, sorted, in a line.
    #[track_caller]
    fn ids(&self) -> String {
        const SCRIPT: &str = "
import sys, json, deltalake
options = json.loads(sys.argv[2])
t = deltalake.DeltaTable(sys.argv[1], storage_options=options)
print(*sorted(t.to_pyarrow_table()['insert_id'].to_pylist()), flush=True)
import os
os._exit(0) # pyarrow's threads may abort the process at its end
";
        let mut options = serde_json::Map::new();
        for (name, value) in &self.service.environment {
            options.insert((*name).to_owned(), value.as_str().into());
        }
        let endpoint = self.service.endpoint.as_str();
        for name in ["AWS_ENDPOINT_URL", "azure_storage_endpoint"] {
            options.insert(name.to_owned(), endpoint.into());
        }
        for name in ["AWS_ALLOW_HTTP", "allow_http"] {
            options.insert(name.to_owned(), "true".into());
        }
        let output = Command::new(&self.service.python)
            .args(["-c", SCRIPT, self.url])
            .arg(serde_json::Value::Object(options).to_string())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// What is the same with every service.
fn keeps_its_word(table: &Table<'_>) {
    let sim = started(sim(data()));
    let place = Place::new();
    let run = |from, to, mode| table.run(&place, &table.text(&sim, from, to, mode));
    run(1, 2, "create").ended(0).says(table.url);
    assert_eq!(table.ids(), expected(&sim, 1, 2));
    let before = sim.requests().len();
    run(1, 2, "create").ended(6).says("already exists");
    assert_eq!(sim.requests().len(), before);
    run(3, 4, "append").ended(0);
    assert_eq!(table.ids(), expected(&sim, 1, 4));
    sim.set_data(Data::generated_between(
        date(2024, 1, 1),
        date(2024, 1, 8),
        4_000,
        0,
        2,
    ));
    run(1, 4, "replace_window").ended(0);
    assert_eq!(table.ids(), expected(&sim, 1, 4));
    let gaps = [
        "gaps",
        "test.toml",
        "--from",
        "2024-01-01",
        "--to",
        "2024-01-05",
        "--format",
        "csv",
    ];
    let gaps = table.mixflow(&place, &gaps).ended(3);
    assert_eq!(
        gaps.stdout_lossy(),
        "first,last,days\n2024-01-05,2024-01-05,1\n"
    );
    table
        .mixflow(&place, &["vacuum", "test.toml"])
        .ended(0)
        .says("left nothing");
    run(1, 8, "replace").ended(0);
    assert_eq!(table.ids(), expected(&sim, 1, 8));
}

#[test]
fn a_table_on_s3() {
    let Some(service) = s3() else { return };
    keeps_its_word(&Table {
        service: &service,
        url: "s3://lake/a/events",
        more: "region = \"us-east-1\"\n",
    });
}

#[test]
fn a_table_on_azure() {
    let Some(service) = azure() else { return };
    keeps_its_word(&Table {
        service: &service,
        url: "az://lake/a/events",
        more: "",
    });
}

#[test]
fn writers_at_the_same_time_lose_no_row_and_write_none_twice() {
    let Some(service) = s3() else { return };
    let table = Table {
        service: &service,
        url: "s3://lake/events",
        more: "",
    };
    let sim = started(sim(data()));
    // Each machine has locks of its own; here other spellings of the address do.
    let spelled = |text: String, n: usize| {
        let letter = "events".as_bytes()[n];
        let (before, after) = ("events".get(..n).unwrap(), "events".get(n + 1..).unwrap());
        text.replace(
            "s3://lake/events",
            &format!("s3://lake/{before}%{letter:02x}{after}"),
        )
    };
    let all_at_once = |texts: &[String]| -> Vec<Option<i32>> {
        let places: Vec<Place> = texts.iter().map(|_| Place::new()).collect();
        let mut children = Vec::new();
        for (n, (place, text)) in places.iter().zip(texts).enumerate() {
            place.write("test.toml", &spelled(text.clone(), n));
            children.push(table.command(place, &["run", "test.toml"]).spawn().unwrap());
        }
        let ends = children
            .iter_mut()
            .map(|child| child.wait().unwrap().code());
        ends.collect()
    };
    // Each other days, the first of them making the table.
    let texts: Vec<String> = (1..=6)
        .map(|day| table.text(&sim, day, day, "append"))
        .collect();
    assert_eq!(all_at_once(&texts), [Some(0); 6]);
    assert_eq!(table.ids(), expected(&sim, 1, 6));
    // All the same days: who comes too late is told, and rows are there once.
    sim.set_data(Data::generated_between(
        date(2024, 1, 1),
        date(2024, 1, 8),
        4_000,
        0,
        2,
    ));
    let texts: Vec<String> = (0..4)
        .map(|_| table.text(&sim, 1, 6, "replace_window"))
        .collect();
    let ends = all_at_once(&texts);
    assert!(ends.contains(&Some(0)), "{ends:?}");
    assert!(
        ends.iter().all(|end| matches!(end, Some(0 | 6))),
        "{ends:?}"
    );
    assert_eq!(table.ids(), expected(&sim, 1, 6));
}

#[test]
fn a_run_that_is_killed_leaves_what_was_there() {
    let Some(service) = s3() else { return };
    let table = Table {
        service: &service,
        url: "s3://lake/killed/events",
        more: "",
    };
    let sim = started(sim(data()));
    let place = Place::new();
    table
        .run(&place, &table.text(&sim, 1, 2, "create"))
        .ended(0);
    for nth in 1..=4 {
        place.write("test.toml", &table.text(&sim, 3, 6, "append"));
        let mut child = table
            .command(&place, &["run", "test.toml", "--progress", "json"])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let told = std::io::BufReader::new(child.stderr.take().unwrap());
        let done = std::io::BufRead::lines(told).map(Result::unwrap);
        let done = done
            .filter(|line| line.contains("\"partition_done\""))
            .nth(nth - 1);
        assert!(done.is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(table.ids(), expected(&sim, 1, 2), "after {nth}");
    }
    table
        .run(&place, &table.text(&sim, 3, 6, "append"))
        .ended(0);
    assert_eq!(table.ids(), expected(&sim, 1, 6));
}

#[test]
fn a_service_that_overwrites_is_refused() {
    let Some(service) = deaf_s3() else { return };
    let table = Table {
        service: &service,
        url: "s3://lake/deaf/events",
        more: "",
    };
    let sim = started(sim(data()));
    let place = Place::new();
    table
        .run(&place, &table.text(&sim, 1, 1, "create"))
        .ended(6)
        .says("overwrites");
    let error = std::panic::catch_unwind(|| table.ids());
    assert!(error.is_err(), "a table is there");
}

#[test]
fn a_bucket_that_is_not_there_and_wrong_credentials_are_told_before_any_request() {
    let Some(service) = s3() else { return };
    let sim = started(sim(data()));
    let place = Place::new();
    let table = Table {
        service: &service,
        url: "s3://none/events",
        more: "",
    };
    table
        .run(&place, &table.text(&sim, 1, 1, "create"))
        .ended(6)
        .says("s3://none/events");
    assert_eq!(sim.requests().len(), 0);
    // In the address nothing secret may stand.
    let text = table
        .text(&sim, 1, 1, "create")
        .replace("s3://none", "s3://key:pa55word@none");
    let ran = table.run(&place, &text).ended(2).says("environment");
    assert!(!ran.stderr.contains("pa55word"), "{}", ran.stderr);
}

/// Parquet in a bucket.
struct Parquet<'s> {
    table: Table<'s>,
}

impl Parquet<'_> {
    fn text(&self, sim: &Simulator, from: i8, to: i8, mode: &str) -> String {
        let text = self.table.text(sim, from, to, mode);
        text.replace("type = \"delta\"", "type = \"parquet\"")
    }

    fn run(&self, place: &Place, text: &str) -> Ran {
        self.table.run(place, text)
    }

    /// Has Python say something of the bucket by `s3`, with the names in it as `names`
    /// and the ids of all rows that a reader of all files sees as `ids`.
    #[track_caller]
    fn said(&self, script: &str) -> String {
        const BEFORE: &str = "
import sys, boto3, io, pyarrow.parquet as pq
s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1',
                  aws_access_key_id='key', aws_secret_access_key=sys.argv[2])
prefix = sys.argv[3]
found = s3.list_objects_v2(Bucket='lake', Prefix=prefix).get('Contents', [])
names = [o['Key'][len(prefix):].lstrip('/') for o in found]
# As Spark, pyarrow and Hive do.
tables = [o['Key'] for o in found if not any(part[:1] in '_.' for part in o['Key'][len(prefix):].lstrip('/').split('/') if part)]
read = lambda key: pq.read_table(io.BytesIO(s3.get_object(Bucket='lake', Key=key)['Body'].read()), partitioning=None)
ids = ' '.join(sorted(i for key in tables for i in read(key)['insert_id'].to_pylist()))
";
        let after = "\nimport os\nsys.stdout.flush()\nos._exit(0)";
        let prefix = self.table.url.strip_prefix("s3://lake/").unwrap();
        let output = Command::new(&self.table.service.python)
            .args(["-c", &format!("{BEFORE}\n{script}{after}")])
            .args([&self.table.service.endpoint, S3_SECRET, prefix])
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn ids(&self) -> String {
        self.said("print(ids)")
    }
}

#[test]
fn one_parquet_object_appears_whole() {
    let Some(service) = s3() else { return };
    let parquet = Parquet {
        table: Table {
            service: &service,
            url: "s3://lake/whole/events.parquet",
            more: "",
        },
    };
    let sim = started(sim(data()));
    let place = Place::new();
    let run = |from, to, mode| parquet.run(&place, &parquet.text(&sim, from, to, mode));
    run(1, 2, "create")
        .ended(0)
        .says("s3://lake/whole/events.parquet");
    assert_eq!(parquet.ids(), expected(&sim, 1, 2));
    let before = sim.requests().len();
    run(1, 2, "create").ended(6).says("already exists");
    run(1, 2, "append").ended(2).says("leave `.parquet` out");
    assert_eq!(sim.requests().len(), before);
    // A run that is killed leaves the object as it was.
    place.write("test.toml", &parquet.text(&sim, 1, 6, "replace"));
    kill_after_a_partition(&parquet.table, &place);
    assert_eq!(parquet.ids(), expected(&sim, 1, 2));
    // One that would be smaller by far is refused. Else it takes the windows that
    // the killed one has kept.
    std::fs::remove_dir_all(place.path("state")).unwrap();
    sim.set_data(Data::generated_between(
        date(2024, 1, 1),
        date(2024, 1, 2),
        100,
        0,
        2,
    ));
    run(1, 2, "replace").ended(1).says("less than half");
    sim.set_data(data());
    run(1, 4, "replace").ended(0);
    assert_eq!(parquet.ids(), expected(&sim, 1, 4));
    assert_eq!(parquet.said("print(names)"), "['']");
}

fn kill_after_a_partition(table: &Table<'_>, place: &Place) {
    let mut child = table
        .command(place, &["run", "test.toml", "--progress", "json"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let told = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut lines = std::io::BufRead::lines(told).map(Result::unwrap);
    assert!(lines.any(|line| line.contains("\"partition_done\"")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_folder_of_parquet_objects_holds_what_its_ledger_says() {
    let Some(service) = s3() else { return };
    let parquet = Parquet {
        table: Table {
            service: &service,
            url: "s3://lake/days",
            more: "",
        },
    };
    let sim = started(sim(data()));
    let place = Place::new();
    let run = |from, to, mode| parquet.run(&place, &parquet.text(&sim, from, to, mode));
    run(1, 2, "create").ended(0);
    assert_eq!(parquet.ids(), expected(&sim, 1, 2));
    let before = sim.requests().len();
    run(1, 2, "create").ended(6).says("already exists");
    assert_eq!(sim.requests().len(), before);
    run(3, 4, "append").ended(0);
    assert_eq!(parquet.ids(), expected(&sim, 1, 4));
    sim.set_data(Data::generated_between(
        date(2024, 1, 1),
        date(2024, 1, 8),
        4_000,
        0,
        2,
    ));
    run(1, 4, "replace_window").ended(0);
    assert_eq!(parquet.ids(), expected(&sim, 1, 4));
    let gaps = [
        "gaps",
        "test.toml",
        "--from",
        "2024-01-01",
        "--to",
        "2024-01-05",
        "--format",
        "csv",
    ];
    let gaps = parquet.table.mixflow(&place, &gaps).ended(3);
    assert_eq!(
        gaps.stdout_lossy(),
        "first,last,days\n2024-01-05,2024-01-05,1\n"
    );
    // A run that dies has staged what no reader sees.
    place.write("test.toml", &parquet.text(&sim, 5, 8, "append"));
    kill_after_a_partition(&parquet.table, &place);
    assert_eq!(parquet.ids(), expected(&sim, 1, 4));
    run(5, 8, "append").ended(0);
    assert_eq!(parquet.ids(), expected(&sim, 1, 8));
    run(1, 8, "replace").ended(0);
    assert_eq!(parquet.ids(), expected(&sim, 1, 8));
    // What readers do not skip is rows, and nothing ours is.
    let ours = "print(*sorted({n.split('/')[0] for n in names if not n.startswith('date=')}), any(n.endswith('.parquet') for n in names if n.startswith('_')))";
    assert_eq!(parquet.said(ours), "_mixflow False");
    parquet
        .table
        .mixflow(&place, &["vacuum", "test.toml"])
        .ended(0);
}

#[test]
fn of_two_runs_into_a_folder_of_objects_one_is_told_and_no_row_is_lost() {
    let Some(service) = s3() else { return };
    let parquet = Parquet {
        table: Table {
            service: &service,
            url: "s3://lake/pairs",
            more: "",
        },
    };
    let sim = started(sim(data()));
    let mut held: Vec<i8> = Vec::new();
    for round in 0..3 {
        let days = [2 * round + 1, 2 * round + 2];
        let places = [Place::new(), Place::new()];
        let mut children = Vec::new();
        for (place, (day, url)) in places.iter().zip(
            days.into_iter()
                .zip(["s3://lake/pairs", "s3://lake/p%61irs"]),
        ) {
            let text = parquet.text(&sim, day, day, "append");
            place.write("test.toml", &text.replace("s3://lake/pairs", url));
            children.push(
                parquet
                    .table
                    .command(place, &["run", "test.toml"])
                    .spawn()
                    .unwrap(),
            );
        }
        for (child, day) in children.iter_mut().zip(days) {
            match child.wait().unwrap().code() {
                Some(0) => held.push(day),
                Some(6) => {}
                other => panic!("{other:?}"),
            }
        }
        held.sort_unstable();
        let mut ids: Vec<String> = held
            .iter()
            .flat_map(|day| {
                expected(&sim, *day, *day)
                    .split(' ')
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect();
        ids.sort();
        assert_eq!(parquet.ids(), ids.join(" "), "{held:?}");
    }
    assert!(held.len() >= 3, "{held:?}");
}
