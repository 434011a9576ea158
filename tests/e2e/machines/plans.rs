//! What a plan carries.

use mixflow_tests::sim::Data;
use serde_json::json;

use super::{Machines, SINK, days};
use crate::support::{DUCKDB, Place, events, pipeline, sim, started};

#[test]
fn a_plan_is_the_same_for_the_same_pipeline_and_days() {
    let sim = started(sim(Data::sample()));
    let machines = Machines::of_days(&sim, 1, 5);
    let plan = machines.planned();
    assert_eq!(plan["units"].as_array().unwrap().len(), 5);
    let first = &plan["units"][0];
    assert_eq!(first["label"], "2024-01-01");
    assert_eq!(
        first["request"],
        json!({ "from_date": "2024-01-01", "to_date": "2024-01-01" })
    );
    assert_eq!(first["extent"]["days"]["first"], "2024-01-01");
    assert_eq!(plan["pipeline"]["source"]["from"], "2024-01-01");
    assert_eq!(
        plan["pipeline"]["source"]["auth"],
        json!({ "username": "sim", "secret": { "env": "SIM_SECRET" } })
    );
    machines.plan(&[]).ended(0);
    assert_eq!(machines.planned(), plan);
    machines.plan(&["--fresh"]).ended(0);
    let fresh = machines.planned();
    assert_ne!(fresh["plan_id"], plan["plan_id"]);
    assert_eq!(fresh["units"], plan["units"]);
    machines.plan(&["--from", "2024-01-02"]).ended(0);
    let other = machines.planned();
    assert_ne!(other["plan_id"], plan["plan_id"]);
    assert_eq!(other["units"][0], plan["units"][1]);
    // Nobody was asked for any of it, and nothing was made.
    assert_eq!(sim.requests().len(), 0);
    assert_eq!(machines.place.names(), ["plan.json"]);
}

#[test]
fn relative_days_are_days_in_a_plan() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let source = events(
        &sim,
        "from = \"-3d\"\nto = \"yesterday\"\nlookback = \"2d\"",
    );
    place.write("test.toml", &pipeline(&[&source, SINK]));
    let mut command = place.command(&["plan", "test.toml", "--output", "-"]);
    command.env("MIXFLOW_NOW", "2024-01-10T12:00:00Z");
    let output = command.output().unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let source = &plan["pipeline"]["source"];
    assert_eq!(
        (&source["from"], &source["to"]),
        (&json!("2024-01-05"), &json!("2024-01-09"))
    );
    assert_eq!(source["lookback"], json!(null));
    assert_eq!(plan["units"].as_array().unwrap().len(), 5);
}

#[test]
fn a_secret_in_plain_text_is_no_part_of_a_plan() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let text = days(&sim, 1, 2, SINK).replace("{ env = \"SIM_SECRET\" }", "\"hunter22\"");
    place.write("test.toml", &text);
    let ran = place.mixflow(&["plan", "test.toml", "--output", "plan.json"]);
    let ran = ran
        .ended(2)
        .says("it would have a secret in it")
        .says("plain text stands under `source.auth.secret`");
    assert!(!ran.lines.contains("hunter22"), "{}", ran.lines);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn a_plan_has_what_the_environment_says_but_for_the_secret() {
    let sim = started(sim(Data::sample()));
    let place = Place::new();
    let source = format!(
        "[source]\ntype = \"mixpanel_events\"\nfrom = \"2024-01-01\"\nto = \"2024-01-02\"\nbase_url = \"{}\"\n",
        sim.base_url()
    );
    place.write("test.toml", &pipeline(&[&source, DUCKDB]));
    let mut command = place.command(&["plan", "test.toml", "--output", "plan.json"]);
    command
        .env("MIXPANEL_PROJECT_ID", "12345")
        .env("MIXPANEL_USERNAME", "sim")
        .env("MIXPANEL_SECRET", "hunter22");
    assert!(command.status().unwrap().success());
    let plan = place.read("plan.json");
    assert!(!plan.contains("hunter22"), "{plan}");
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(
        plan["pipeline"]["source"]["auth"]["secret"],
        json!({ "env": "MIXPANEL_SECRET" })
    );
    assert_eq!(plan["pipeline"]["source"]["project_id"], "12345");
}

#[test]
fn what_is_no_plan_is_refused() {
    let place = Place::new();
    place.write("plan.json", "{}");
    let unit = |plan: &str| {
        place.mixflow(&[
            "unit", "run", "--plan", plan, "--index", "0", "--stage", "stage",
        ])
    };
    unit("plan.json")
        .ended(2)
        .says("cannot read the plan `plan.json`");
    unit("none.json").ended(2).says("No such file");
    let sim = started(sim(Data::sample()));
    let machines = Machines::of_days(&sim, 1, 2);
    machines
        .unit(1, 2)
        .ended(2)
        .says("no unit of the plan has the index 2")
        .says("it has 2, from 0 to 1");
    let args = [
        "unit",
        "run",
        "--plan",
        "plan.json",
        "--key",
        "abc",
        "--stage",
        "stage",
    ];
    machines.on(1, &args).ended(2).says("the key `abc`");
    let args = [
        "unit",
        "run",
        "--plan",
        "plan.json",
        "--index",
        "0",
        "--stage",
        "ftp://h/a",
    ];
    machines.on(1, &args).ended(2).says("begins with `s3://`");
    assert_eq!(sim.requests().len(), 0);
}

#[test]
fn a_plan_that_somebody_has_changed_is_found_out() {
    let sim = started(sim(Data::sample()));
    let machines = Machines::of_days(&sim, 1, 2);
    let changed = machines.place.read("plan.json").replace(
        "\"from_date\": \"2024-01-01\"",
        "\"from_date\": \"2023-12-31\"",
    );
    machines.place.write("plan.json", &changed);
    machines
        .unit(1, 0)
        .ended(2)
        .says("is no unit of the pipeline `test`");
    assert_eq!(sim.requests().len(), 0);
}

#[test]
fn a_plan_says_what_the_rows_of_its_units_look_like() {
    let sim = started(sim(Data::sample()));
    let source = events(&sim, "from = \"2024-01-01\"\nto = \"2024-01-02\"");
    let transforms = "[[transform]]\ntype = \"extract\"\ncolumns = [{ name = \"n\", path = \"n\", type = \"int\" }]\n[[transform]]\ntype = \"extract\"\ncolumns = \"auto\"\n";
    let machines = Machines::planning(&pipeline(&[&source, transforms, SINK]));
    let column = |name: &str, kind: &str| json!({ "name": name, "type": kind });
    assert_eq!(
        machines.planned()["columns"],
        json!([
            column("event_name", "string"),
            column("event_time", "timestamp"),
            column("distinct_id", "string"),
            column("insert_id", "string"),
            column("properties", "string"),
            column("n", "bigint"),
        ])
    );
}

#[test]
fn a_file_of_several_projects_is_one_plan() {
    let sim = started(
        mixflow_tests::sim::Simulator::builder()
            .data(Data::sample())
            .credentials("sim", crate::support::SECRET),
    );
    let projects = "[[project]]\nid = 1\n[[project]]\nid = 2\n[[project]]\nid = 3\n";
    let many =
        "from = \"2023-10-01\"\nto = \"2024-01-10\"\nwindow_days = 1\nlimits = { per_hour = 60 }";
    let source =
        events(&sim, many).replace("limits = { per_second = 10000, per_hour = 10000 }", "");
    let sink = SINK.replace("out.db", "{project}.db");
    let place = Place::new();
    place.write("test.toml", &pipeline(&[projects, &source, &sink]));
    let ran = place
        .mixflow(&["plan", "test.toml", "--output", "plan.json"])
        .ended(0);
    // What is the same for all is told once.
    assert_eq!(
        ran.stderr
            .matches("that Mixpanel allows in an hour")
            .count(),
        1
    );
    let ran = ran.says("(`test-1` and 2 more)");
    assert_eq!(ran.stderr.lines().count(), 2, "{}", ran.stderr);
    let plan: serde_json::Value = serde_json::from_str(&place.read("plan.json")).unwrap();
    let pipelines = plan["pipelines"].as_array().unwrap();
    let said = |n: usize| {
        let planned = &pipelines[n];
        let pipeline = &planned["pipeline"];
        (
            pipeline["name"].clone(),
            pipeline["source"]["project_id"].clone(),
            pipeline["sink"]["path"].clone(),
            planned["units"].as_array().unwrap().len(),
        )
    };
    assert_eq!(said(2), (json!("test-3"), json!(3), json!("3.db"), 102));
    // Each project's units have keys of their own.
    assert_ne!(
        pipelines[0]["units"][0]["key"],
        pipelines[1]["units"][0]["key"]
    );
    let args = [
        "unit",
        "run",
        "--plan",
        "plan.json",
        "--index",
        "305",
        "--stage",
        "stage",
    ];
    let receipt = place.mixflow(&args).ended(0);
    let receipt: serde_json::Value = serde_json::from_slice(&receipt.stdout).unwrap();
    assert_eq!(receipt["key"], pipelines[2]["units"][101]["key"]);
    let asked = sim.requests();
    let project = ("project_id".to_owned(), "3".to_owned());
    assert!(asked[0].query.contains(&project));
}
