//! Stages in buckets.

use mixflow_tests::sim::{Data, ExportQuery};
use serde_json::Value;

use super::{Machines, SINK, days, unit};
use crate::rows::form::expected_events;
use crate::services::{AZURE_KEY, S3_SECRET, Service, azure, deaf_google, deaf_s3, google, s3};
use crate::support::{Ran, sim, started};

/// Machines that have the credentials of a service.
fn machines_at(pipeline: &str, service: &Service, stage: &'static str) -> Machines {
    let mut machines = Machines::planning(pipeline);
    machines.environment.clone_from(&service.environment);
    let variable = match stage.split_once("://").unwrap().0 {
        "s3" => "AWS_ENDPOINT_URL",
        "gs" => "GOOGLE_BASE_URL",
        _ => "AZURE_STORAGE_ENDPOINT",
    };
    let endpoint = (variable, service.endpoint.clone());
    machines.environment.push(endpoint);
    machines.stage = stage;
    machines
}

fn without_secrets(ran: Ran) -> Ran {
    for secret in [S3_SECRET, AZURE_KEY] {
        assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
        assert!(!ran.stdout_lossy().contains(secret));
    }
    ran
}

/// Two machines at once leave each unit once, whoever is faster, and a third commits.
fn share(service: &Service, stage: &'static str) {
    let sim = started(sim(Data::sample()));
    let machines = machines_at(&days(&sim, 1, 3, SINK), service, stage);
    for n in 0..3 {
        let index = n.to_string();
        let both = [1, 2].map(|machine| machines.begin(machine, &unit(&index, stage)));
        let both = both.map(|child| {
            let ran = Ran::of(child.wait_with_output().unwrap());
            let ran = without_secrets(ran.ended(0));
            serde_json::from_slice::<Value>(&ran.stdout).unwrap()
        });
        assert_eq!(both[0], both[1]);
    }
    let asked = sim.requests().len();
    assert!((3..=6).contains(&asked), "{asked}");
    without_secrets(machines.unit(4, 1).ended(0)).says("was read before");
    without_secrets(machines.commit(3, &[]).ended(0));
    without_secrets(machines.commit(2, &[]).ended(0)).says("nothing to do");
    assert_eq!(sim.requests().len(), asked);
    let text = machines
        .place
        .read("test.toml")
        .replace("out.db", "plain.db");
    machines.place.run(&text).0.ended(0);
    assert_eq!(machines.rows("out.db"), machines.rows("plain.db"));
}

#[test]
fn machines_share_a_bucket_of_s3() {
    let Some(service) = s3() else { return };
    share(&service, "s3://lake/some/stage");
}

#[test]
fn machines_share_a_container_of_azure() {
    let Some(service) = azure() else { return };
    share(&service, "az://lake/stage");
}

const ROWS: &str = "
import sys, json, pyarrow.fs, pyarrow.parquet, deltalake, os
kind, url, endpoint, secret = sys.argv[1:5]
if kind == 'delta':
    t = deltalake.DeltaTable(url, storage_options={'AWS_ENDPOINT_URL': endpoint, 'AWS_ALLOW_HTTP': 'true', 'AWS_ACCESS_KEY_ID': 'key', 'AWS_SECRET_ACCESS_KEY': secret, 'AWS_REGION': 'us-east-1'}).to_pyarrow_table()
else:
    fs = pyarrow.fs.S3FileSystem(access_key='key', secret_key=secret, endpoint_override=endpoint, region='us-east-1')
    t = pyarrow.parquet.read_table(url[5:], filesystem=fs)
print(*sorted(t['insert_id'].to_pylist()), flush=True)
os._exit(0)
";

const OVERWRITE: &str = "
import sys, boto3
s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1',
                  aws_access_key_id='key', aws_secret_access_key=sys.argv[2])
key = sys.argv[3]
body = bytearray(s3.get_object(Bucket='lake', Key=key)['Body'].read())
body[len(body) // 2] ^= 1
s3.put_object(Bucket='lake', Key=key, Body=bytes(body))
";

#[test]
fn a_table_takes_parts_of_its_bucket_as_they_are() {
    let Some(service) = s3() else { return };
    for (kind, url) in [
        ("delta", "s3://lake/table"),
        ("parquet", "s3://lake/folder"),
    ] {
        let sim = started(sim(Data::sample()));
        let sink = format!("[sink]\ntype = \"{kind}\"\npath = \"{url}\"\n");
        let machines = machines_at(&days(&sim, 1, 3, &sink), &service, "s3://lake/stage");
        super::adopted::share_a_bucket(&machines, without_secrets);
        let mut expected: Vec<String> = (1..=3)
            .flat_map(|day| {
                let day = jiff::civil::date(2024, 1, day);
                expected_events(&sim, &ExportQuery::new(day, day))
            })
            .map(|event| event.insert_id)
            .collect();
        expected.sort();
        let found = service.python(ROWS, &[kind, url, &service.endpoint, S3_SECRET]);
        assert_eq!(found, expected.join(" "), "{kind}");
    }
    // Into another bucket, or by another server, rows are read.
    let sim = started(sim(Data::sample()));
    let sink = "[sink]\ntype = \"delta\"\npath = \"out\"\n";
    let machines = machines_at(&days(&sim, 1, 1, sink), &service, "s3://lake/far");
    let receipt = machines.receipt(1, 0);
    assert!(receipt["part"]["etag"].is_string() && receipt["part"]["notes"].is_null());
    without_secrets(machines.commit(2, &[]).ended(0));
}

#[test]
fn a_part_that_somebody_has_changed_in_a_bucket_is_refused() {
    let Some(service) = s3() else { return };
    let sim = started(sim(Data::sample()));
    let sink = "[sink]\ntype = \"delta\"\npath = \"s3://lake/table\"\n";
    let machines = machines_at(&days(&sim, 1, 2, sink), &service, "s3://lake/stage");
    machines.unit(1, 0).ended(0);
    let receipt = machines.receipt(1, 1);
    let plan = machines.planned()["plan_id"].as_str().unwrap().to_owned();
    let key = format!("stage/{plan}/{}", receipt["part"]["path"].as_str().unwrap());
    service.python(OVERWRITE, &[&service.endpoint, S3_SECRET, &key]);
    without_secrets(machines.commit(1, &[]).ended(1))
        .says("is damaged")
        .says("its ETag is another one");
}

#[test]
fn machines_share_a_bucket_of_google() {
    let Some(service) = google() else { return };
    share(&service, "gs://lake/stage");
}

#[test]
fn a_service_that_overwrites_is_no_stage() {
    for (service, stage) in [
        (deaf_s3(), "s3://lake/stage"),
        (deaf_google(), "gs://lake/stage"),
    ] {
        if let Some(service) = service {
            is_no_stage(&service, stage);
        }
    }
}

fn is_no_stage(service: &Service, stage: &'static str) {
    let sim = started(sim(Data::sample()));
    let machines = machines_at(&days(&sim, 1, 1, SINK), service, stage);
    without_secrets(machines.unit(1, 0).ended(6))
        .says("the service overwrites an object that is there")
        .says("conditional writes");
    assert_eq!(sim.requests().len(), 0);
}

#[test]
fn credentials_that_are_refused_are_an_error_before_any_request() {
    let Some(service) = azure() else { return };
    let sim = started(sim(Data::sample()));
    let mut machines = machines_at(&days(&sim, 1, 1, SINK), &service, "az://lake/stage");
    for (name, value) in &mut machines.environment {
        if *name == "AZURE_STORAGE_ACCOUNT_KEY" {
            *value = "bm90IHRoZSBrZXk=".to_owned();
        }
    }
    let ran = without_secrets(machines.unit(1, 0).ended(4));
    assert!(!ran.stderr.contains("bm90IHRoZSBrZXk"), "{}", ran.stderr);
    assert_eq!(sim.requests().len(), 0);
}
