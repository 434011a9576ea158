//! Tables in buckets, which several machines write to.
//!
//! On one machine a lock keeps runs to one address apart, so tests that are to run
//! at the same time have addresses of their own.

use std::process::Command;
use std::time::{Duration, Instant};

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, ExportQuery, Fault, Matcher, Simulator};

use crate::rows::form::expected_events;
use crate::services::{AZURE_KEY, S3_SECRET, Service, azure, deaf_google, deaf_s3, google, s3};
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

/// A table in a bucket, of Delta or of Parquet.
struct Table<'s> {
    service: &'s Service,
    sink: &'static str,
    url: &'static str,
    more: &'static str,
}

impl Table<'_> {
    fn text(&self, sim: &Simulator, from: i8, to: i8, mode: &str) -> String {
        let Table {
            service,
            sink,
            url,
            more,
        } = self;
        let endpoint = &service.endpoint;
        let sink = format!(
            "[sink]\ntype = \"{sink}\"\npath = \"{url}\"\nendpoint = \"{endpoint}\"\nmode = \"{mode}\"\n{more}"
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

    /// Runs each of these texts at the same time, and returns how they end. Each
    /// machine has locks of its own; here other spellings of the address do.
    fn all_at_once(&self, texts: &[String]) -> Vec<Option<i32>> {
        let (before, name) = self.url.rsplit_once('/').unwrap();
        let spelled = |n: usize| {
            let (start, end) = (name.get(..n).unwrap(), name.get(n + 1..).unwrap());
            let letter = name.as_bytes()[n];
            format!("{before}/{start}%{letter:02x}{end}\"")
        };
        let places: Vec<Place> = texts.iter().map(|_| Place::new()).collect();
        let mut children = Vec::new();
        for (n, (place, text)) in places.iter().zip(texts).enumerate() {
            let text = text.replace(&format!("{}\"", self.url), &spelled(n));
            place.write("test.toml", &text);
            children.push(self.command(place, &["run", "test.toml"]).spawn().unwrap());
        }
        let ends = children
            .iter_mut()
            .map(|child| child.wait().unwrap().code());
        ends.collect()
    }

    /// Returns the ids of all rows as another reader sees them, sorted, in a line.
    #[track_caller]
    fn ids(&self) -> String {
        if self.sink == "parquet" {
            return self.said("print(ids)");
        }
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
        let options = serde_json::Value::Object(options).to_string();
        self.python(&["-c", SCRIPT, self.url, &options])
    }

    #[track_caller]
    fn python(&self, args: &[&str]) -> String {
        let mut python = Command::new(&self.service.python);
        let output = python.args(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Has Python say something of the objects, with their names as `names` and the
    /// ids of all rows that a reader of all files sees as `ids`.
    #[track_caller]
    fn said(&self, script: &str) -> String {
        const BEFORE: &str = "
prefix = sys.argv[3]
# `events` is not a part of `events2`.
found = [key for key in keys(prefix) if key[len(prefix):][:1] in ('', '/')]
names = [key[len(prefix):].lstrip('/') for key in found]
# As Spark, pyarrow and Hive do.
tables = [key for key, name in zip(found, names) if not any(part[:1] in '_.' for part in name.split('/') if part)]
read = lambda key: pq.read_table(io.BytesIO(body(key)), partitioning=None)
ids = ' '.join(sorted(i for key in tables for i in read(key)['insert_id'].to_pylist()))
";
        let Service {
            reads, endpoint, ..
        } = self.service;
        let script = format!(
            "import sys, io, os, pyarrow.parquet as pq\n{reads}{BEFORE}\n{script}\nsys.stdout.flush()\nos._exit(0)"
        );
        let (scheme, rest) = self.url.split_once("://").unwrap();
        let secret = match scheme {
            "az" => AZURE_KEY,
            _ => S3_SECRET,
        };
        let prefix = rest.strip_prefix("lake/").unwrap();
        self.python(&["-c", &script, endpoint, secret, prefix])
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
    // A run that dies leaves what no reader sees.
    place.write("test.toml", &table.text(&sim, 5, 8, "append"));
    kill_after_a_partition(table, &place);
    assert_eq!(table.ids(), expected(&sim, 1, 4));
    run(5, 8, "append").ended(0);
    assert_eq!(table.ids(), expected(&sim, 1, 8));
    run(1, 8, "replace").ended(0);
    assert_eq!(table.ids(), expected(&sim, 1, 8));
}

/// Delta and Parquet on a service, in these places.
fn keep_their_word(service: Option<Service>, places: [&'static str; 2], more: &'static str) {
    let Some(service) = service else { return };
    for (sink, url) in ["delta", "parquet"].into_iter().zip(places) {
        keeps_its_word(&Table {
            service: &service,
            sink,
            url,
            more,
        });
    }
}

#[test]
fn tables_on_s3() {
    let places = ["s3://lake/a/events", "s3://lake/days"];
    keep_their_word(s3(), places, "region = \"us-east-1\"\n");
}

#[test]
fn tables_on_azure() {
    keep_their_word(azure(), ["az://lake/a/events", "az://lake/days"], "");
}

#[test]
fn tables_on_google_cloud_storage() {
    keep_their_word(google(), ["gs://lake/a/events", "gs://lake/days"], "");
}

#[test]
fn writers_at_the_same_time_lose_no_row_and_write_none_twice() {
    let Some(service) = s3() else { return };
    for (sink, url) in [
        ("delta", "s3://lake/events"),
        ("parquet", "s3://lake/bydays"),
    ] {
        let table = Table {
            service: &service,
            sink,
            url,
            more: "",
        };
        let sim = started(sim(data()));
        // Each other days, the first of them making the table.
        let texts: Vec<String> = (1..=6)
            .map(|day| table.text(&sim, day, day, "append"))
            .collect();
        assert_eq!(table.all_at_once(&texts), [Some(0); 6], "{sink}");
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
        let ends = table.all_at_once(&texts);
        assert!(ends.contains(&Some(0)), "{ends:?}");
        assert!(
            ends.iter().all(|end| matches!(end, Some(0 | 6))),
            "{ends:?}"
        );
        assert_eq!(table.ids(), expected(&sim, 1, 6));
    }
}

#[test]
fn of_runs_that_create_an_object_at_the_same_time_one_does() {
    let services = [
        (s3(), "s3://lake/once/events.parquet"),
        (google(), "gs://lake/once/events.parquet"),
        (azure(), "az://lake/once/events.parquet"),
    ];
    for (service, url) in services {
        let Some(service) = service else { continue };
        let table = Table {
            service: &service,
            sink: "parquet",
            url,
            more: "",
        };
        let sim = started(sim(data()));
        let texts: Vec<String> = (1..=4)
            .map(|day| table.text(&sim, day, day, "create"))
            .collect();
        let ends = table.all_at_once(&texts);
        let winners: Vec<usize> = (0..4).filter(|n| ends[*n] == Some(0)).collect();
        let [winner] = winners[..] else {
            panic!("{url}: {ends:?}")
        };
        assert!(
            ends.iter().all(|end| matches!(end, Some(0 | 6))),
            "{ends:?}"
        );
        let day = i8::try_from(winner + 1).unwrap();
        assert_eq!(table.ids(), expected(&sim, day, day), "{url}");
        // Nothing is left beside it.
        let beside = "print([key for key in keys('once/') if key != prefix])";
        assert_eq!(table.said(beside), "[]", "{url}");
    }
}

#[test]
fn a_run_that_is_killed_leaves_what_was_there() {
    let Some(service) = s3() else { return };
    let table = Table {
        service: &service,
        sink: "delta",
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
    let services = [
        (deaf_s3(), ["s3://lake/deaf", "s3://lake/deaf.parquet"]),
        (deaf_google(), ["gs://lake/deaf", "gs://lake/deaf.parquet"]),
    ];
    for (service, urls) in services {
        let Some(service) = service else { continue };
        for (sink, url) in [
            ("delta", urls[0]),
            ("parquet", urls[0]),
            ("parquet", urls[1]),
        ] {
            let table = Table {
                service: &service,
                sink,
                url,
                more: "",
            };
            let sim = started(sim(data()));
            let place = Place::new();
            table
                .run(&place, &table.text(&sim, 1, 1, "create"))
                .ended(6)
                .says("overwrites");
            assert_eq!(table.said("print(names)"), "[]", "{sink} {url}");
        }
    }
}

#[test]
fn a_bucket_that_is_not_there_and_wrong_credentials_are_told_before_any_request() {
    let Some(service) = s3() else { return };
    let sim = started(sim(data()));
    let place = Place::new();
    let table = Table {
        service: &service,
        sink: "delta",
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

#[test]
fn one_parquet_object_appears_whole() {
    let Some(service) = s3() else { return };
    let parquet = Table {
        service: &service,
        sink: "parquet",
        url: "s3://lake/whole/events.parquet",
        more: "",
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
    kill_after_a_partition(&parquet, &place);
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
fn what_readers_do_not_skip_in_a_folder_is_rows() {
    let Some(service) = s3() else { return };
    let parquet = Table {
        service: &service,
        sink: "parquet",
        url: "s3://lake/rows",
        more: "",
    };
    let sim = started(sim(data()));
    let place = Place::new();
    for mode in ["create", "replace_window"] {
        parquet
            .run(&place, &parquet.text(&sim, 1, 2, mode))
            .ended(0);
    }
    let ours = "print(*sorted({n.split('/')[0] for n in names if not n.startswith('date=')}), any(n.endswith('.parquet') for n in names if n.startswith('_')))";
    assert_eq!(parquet.said(ours), "_mixflow False");
}

#[test]
fn one_address_at_two_services_is_two_destinations() {
    let (Some(one), Some(two)) = (s3(), s3()) else {
        return;
    };
    let table = |service| Table {
        service,
        sink: "parquet",
        url: "s3://lake/same",
        more: "",
    };
    let (one, two) = (table(&one), table(&two));
    let slow = Action::SlowFirstByte(Duration::from_secs(60));
    let waits = started(sim(data()).fault(Fault::always(Matcher::export(), slow)));
    let sim = started(sim(data()));
    let place = Place::new();
    place.write("slow.toml", &one.text(&waits, 1, 1, "append"));
    let mut slow = one.command(&place, &["run", "slow.toml"]).spawn().unwrap();
    let begun = Instant::now();
    while waits.requests().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it begins");
        std::thread::sleep(Duration::from_millis(20));
    }
    one.run(&place, &one.text(&sim, 1, 1, "append"))
        .ended(6)
        .says("is writing to it");
    two.run(&place, &two.text(&sim, 1, 1, "append")).ended(0);
    slow.kill().unwrap();
    slow.wait().unwrap();
    assert_eq!(two.ids(), expected(&sim, 1, 1));
    assert_eq!(one.ids(), "");
}
