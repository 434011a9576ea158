//! `[archive]` in a bucket.

use std::process::Command;

use jiff::civil::date;
use mixflow_tests::sim::{Data, ExportQuery, Simulator};

use crate::rows::form::{Event, assert_same, expected_events, sorted, written_by};
use crate::services::{AZURE_KEY, S3_SECRET, Service, azure, deaf_s3, s3};
use crate::support::{DUCKDB, Place, Ran, events, pipeline, profiles, sim, started};

const FIVE: &str = "from = \"2024-01-01\"\nto = \"2024-01-05\"\nwindow_days = 1\n";

fn data() -> Data {
    Data::generated_between(date(2024, 1, 1), date(2024, 1, 5), 1_000, 50, 1)
}

/// A machine that keeps what it fetches in a bucket.
struct Machine<'s> {
    place: Place,
    service: &'s Service,
    archive: String,
}

impl<'s> Machine<'s> {
    fn new(service: &'s Service, url: &str) -> Machine<'s> {
        let endpoint = &service.endpoint;
        Machine {
            place: Place::new(),
            service,
            archive: format!("[archive]\npath = \"{url}\"\nendpoint = \"{endpoint}\"\n"),
        }
    }

    fn writes(&self, source: &str) {
        let text = pipeline(&[source, &self.archive, DUCKDB]);
        self.place.write("test.toml", &text);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        let environment = self.service.environment.iter();
        command.envs(environment.map(|(name, value)| (name, value)));
        command
    }

    fn on(&self, args: &[&str]) -> Ran {
        without_secrets(Ran::of(self.command(args).output().unwrap()))
    }

    /// Replays where nothing is known of the server or its secret.
    fn replay(&self, path: &str) -> Ran {
        let set = format!("sink.path={path}");
        let mut command = self.command(&["replay", "test.toml", "--set", &set]);
        without_secrets(Ran::of(command.env_remove("SIM_SECRET").output().unwrap()))
    }
}

fn without_secrets(ran: Ran) -> Ran {
    for secret in [S3_SECRET, AZURE_KEY] {
        assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
        assert!(!ran.stdout_lossy().contains(secret));
    }
    ran
}

fn expected(sim: &Simulator) -> Vec<Event> {
    let query = ExportQuery::new(date(2024, 1, 1), date(2024, 1, 5));
    sorted(expected_events(sim, &query))
}

/// Changes a byte of the body of a day, or removes it.
const SPOIL: &str = "
import sys, boto3
s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1',
                  aws_access_key_id='key', aws_secret_access_key=sys.argv[2])
keys = [o['Key'] for o in s3.list_objects_v2(Bucket='lake')['Contents']]
[key] = [k for k in keys if sys.argv[3] in k and k.endswith('.gz')]
if sys.argv[4] == 'remove':
    s3.delete_object(Bucket='lake', Key=key)
else:
    body = bytearray(s3.get_object(Bucket='lake', Key=key)['Body'].read())
    body[len(body) // 2] ^= 1
    s3.put_object(Bucket='lake', Key=key, Body=bytes(body))
";

fn keeps_its_word(service: &Service, url: &str) {
    let server = started(sim(data()));
    let rows = expected(&server);
    let machine = Machine::new(service, url);
    machine.writes(&events(&server, FIVE));
    machine.on(&["plan", "test.toml"]).ended(0);
    machine.on(&["run", "test.toml"]).ended(0);
    machine
        .on(&["archive", "verify", "test.toml"])
        .ended(0)
        .says("5 bodies in");
    drop(server);
    // Another machine, which has nothing but the file.
    let other = Machine::new(service, url);
    other
        .place
        .write("test.toml", &machine.place.read("test.toml"));
    other
        .replay("again.db")
        .ended(0)
        .says("committed 1,000 rows");
    assert_same(&written_by("duckdb", &other.place.path("again.db")), &rows);
    let list = ["archive", "list", "test.toml", "--format", "csv"];
    let listed = other.on(&list).ended(0).stdout_lossy();
    assert_eq!(listed.lines().count(), 6, "{listed}");
    assert!(listed.contains(",12345/events/2024-01-03/"), "{listed}");
    let prune = ["archive", "prune", "test.toml", "--older-than", "1d"];
    other
        .on(&prune)
        .ended(0)
        .says("removed 5 bodies of days before");
    other.replay("none.db").ended(1);
}

#[test]
fn bodies_are_kept_and_replayed_in_a_bucket_of_s3() {
    let Some(service) = s3() else { return };
    keeps_its_word(&service, "s3://lake/some/archive");
}

#[test]
fn bodies_are_kept_and_replayed_in_a_container_of_azure() {
    let Some(service) = azure() else { return };
    keeps_its_word(&service, "az://lake/archive");
}

#[test]
fn bodies_that_are_spoilt_in_a_bucket_are_named() {
    let Some(service) = s3() else { return };
    let server = started(sim(data()));
    let machine = Machine::new(&service, "s3://lake/archive");
    machine.writes(&events(&server, FIVE));
    machine.on(&["run", "test.toml"]).ended(0);
    for (day, how) in [("2024-01-02", "flip"), ("2024-01-04", "remove")] {
        service.python(SPOIL, &[&service.endpoint, S3_SECRET, day, how]);
    }
    machine
        .on(&["archive", "verify", "test.toml"])
        .ended(1)
        .says("is damaged: it has other bytes than were fetched")
        .says("is gone");
    machine
        .replay("again.db")
        .ended(3)
        .says("missing: 2024-01-02, 2024-01-04");
}

#[test]
fn pages_of_profiles_are_replayed_out_of_a_bucket() {
    let Some(service) = s3() else { return };
    let server = started(sim(data()));
    let machine = Machine::new(&service, "s3://lake/archive");
    machine.writes(&profiles(&server, ""));
    machine.on(&["run", "test.toml"]).ended(0);
    drop(server);
    machine.replay("again.db").ended(0);
    let count = |db: &str| machine.place.sql(db, "SELECT count(*) FROM profiles");
    assert_eq!(count("again.db"), [["50"]]);
}

/// A bucket that cannot be written is found before anything is asked for, and one that
/// goes away ends the run, with nothing committed.
#[test]
fn what_cannot_be_kept_in_a_bucket_ends_the_run() {
    let Some(service) = s3() else { return };
    let server = started(sim(data()));
    let machine = Machine::new(&service, "s3://no-such-bucket/archive");
    machine.writes(&events(&server, FIVE));
    machine
        .on(&["run", "test.toml"])
        .ended(6)
        .says("cannot keep bodies in the archive `s3://no-such-bucket/archive`");
    assert_eq!(server.requests().len(), 0);
    assert!(!machine.place.path("out.db").exists());
}

/// Nothing here needs a service that keeps objects apart.
#[test]
fn a_service_that_overwrites_keeps_bodies_all_the_same() {
    let Some(service) = deaf_s3() else { return };
    let server = started(sim(data()));
    let machine = Machine::new(&service, "s3://lake/archive");
    machine.writes(&events(&server, FIVE));
    machine.on(&["run", "test.toml"]).ended(0);
    machine.on(&["archive", "verify", "test.toml"]).ended(0);
}

#[test]
fn an_address_that_is_none_is_an_error_of_the_file() {
    let server = started(sim(data()));
    let place = Place::new();
    for (archive, says) in [
        ("path = \"s3://key:secret@lake/a\"", "credentials"),
        ("path = \"ftp://lake/a\"", "no file on this machine"),
        (
            "path = \"archive\"\nendpoint = \"http://x\"",
            "a folder of this machine has none",
        ),
        ("path = \"s3:///a\"", "the bucket is missing"),
    ] {
        let archive = format!("[archive]\n{archive}\n");
        place.write(
            "test.toml",
            &pipeline(&[&events(&server, FIVE), &archive, DUCKDB]),
        );
        let ran = place.mixflow(&["check", "test.toml"]).ended(2).says(says);
        assert!(ran.stderr.contains("archive."), "{}", ran.stderr);
        assert!(!ran.stderr.contains("key:secret"), "{}", ran.stderr);
    }
}
