//! Mixpanel's own Python client against the simulator: where it finds other
//! data than the model, it is the simulator that is not as Mixpanel is.

use std::process::Command;

use mixflow_tests::sim::model::{normalize_event, normalize_profile};
use mixflow_tests::sim::{Data, Endpoint, EngageQuery, ExportQuery};
use serde_json::value::RawValue;

use crate::cli::python::python;
use crate::support::{Place, SECRET, sim, started};

/// Downloads with `mixpanel-utils`, unmodified but for the host.
const SCRIPT: &str = r#"
import os, sys
from mixpanel_utils import MixpanelUtils

def at(host, client):
    client.raw_api = client.formatted_api = host + "/api"
    return client

host, secret = sys.argv[1], os.environ["SIM_SECRET"]
days = {"from_date": "2024-01-01", "to_date": "2024-01-14"}
account = at(host, MixpanelUtils(secret, service_account_username="sim", project_id=12345))
account.export_events("events.json", days, add_gzip_header=True)
account.export_people("people.json")
project = at(host, MixpanelUtils("a project's secret", read_pool_size=4))
project.export_events("plain.json", {**days, "where": sys.argv[2]})
project.export_people("some.json", {"where": sys.argv[3], "output_properties": ["$email"]})
"#;

const EVENTS_WHERE: &str =
    r#"number(properties["time"]) >= 1705276000 and defined (properties["$os"])"#;
const PROFILES_WHERE: &str = r#"(user["$last_seen"] < datetime("2026-11-09T00:00:00"))"#;

/// Returns the records of a file that the client has written.
fn records(place: &Place, name: &str) -> Vec<Box<RawValue>> {
    serde_json::from_str(&place.read(name)).unwrap()
}

#[track_caller]
fn assert_events(found: &[Box<RawValue>], expected: &[Vec<u8>]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let found = normalize_event(found.get().as_bytes(), false).unwrap();
        let expected = normalize_event(expected, false).unwrap();
        // Python writes other bytes for the same values.
        assert_eq!(found.properties.value(), expected.properties.value());
        let key = |event: mixflow_tests::sim::model::Event| {
            (
                event.event_name,
                event.event_time_us,
                event.distinct_id,
                event.insert_id,
            )
        };
        assert_eq!(key(found), key(expected));
    }
}

#[track_caller]
fn assert_profiles(found: &[Box<RawValue>], expected: &[Vec<u8>]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let found = normalize_profile(found.get().as_bytes()).unwrap();
        let expected = normalize_profile(expected).unwrap();
        assert_eq!(found.properties.value(), expected.properties.value());
        assert_eq!(
            (found.distinct_id, found.last_seen_us),
            (expected.distinct_id, expected.last_seen_us)
        );
    }
}

#[test]
fn mixpanels_own_client_downloads_the_sample() {
    let Some(python) = python() else {
        return;
    };
    let sim = started(
        sim(Data::sample())
            .project_secret("a project's secret")
            .page_size(150),
    );
    let place = Place::new();
    place.write("script.py", SCRIPT);
    let ran = Command::new(python)
        .args(["script.py", sim.base_url(), EVENTS_WHERE, PROFILES_WHERE])
        .env("SIM_SECRET", SECRET)
        .current_dir(place.path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.is_empty(), "{said}");

    let all = ExportQuery::new("2024-01-01".parse().unwrap(), "2024-01-14".parse().unwrap());
    assert_events(&records(&place, "events.json"), &sim.expected_events(&all));
    let profiles = sim.expected_profiles(&EngageQuery::default());
    assert_profiles(&records(&place, "people.json"), &profiles);

    let where_ = Some(EVENTS_WHERE.to_owned());
    let some = sim.expected_events(&ExportQuery { where_, ..all });
    assert!((1..8_000).contains(&some.len()), "{}", some.len());
    assert_events(&records(&place, "plain.json"), &some);
    let some = sim.expected_profiles(&EngageQuery {
        where_: Some(PROFILES_WHERE.to_owned()),
        output_properties: Some(vec!["$email".to_owned()]),
        ..EngageQuery::default()
    });
    assert!((1..profiles.len()).contains(&some.len()), "{}", some.len());
    assert_profiles(&records(&place, "some.json"), &some);

    // It asks in other ways than mixflow does.
    let pages = sim.requests_to(Endpoint::Engage);
    assert!(
        pages
            .iter()
            .all(|page| page.method == "GET" && page.path == "/api/2.0/engage")
    );
}
