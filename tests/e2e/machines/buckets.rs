//! Stages in buckets.

use mixflow_tests::sim::Data;
use serde_json::Value;

use super::{Machines, SINK, days, unit};
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
