//! Named connections, and what the environment says where nobody else does.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mixflow_tests::sim::{Data, Simulator};

use crate::support::{DUCKDB, Place, Ran, SECRET, pipeline, sim, started};

const BARE: &str =
    "[source]\ntype = \"mixpanel_events\"\nfrom = \"2024-01-01\"\nto = \"2024-01-01\"\n";

fn store() -> Simulator {
    started(sim(Data::sample()))
}

/// Writes the connections of a home.
fn connections(place: &Place, text: &str, mode: u32) {
    connections_in(&place.path(".config"), text, mode);
}

fn connections_in(config: &Path, text: &str, mode: u32) {
    let folder = config.join("mixflow");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("connections.toml");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn prod(sim: &Simulator) -> String {
    format!(
        "[prod]\nproject_id = 12345\nauth = {{ username = \"sim\", secret = \"{SECRET}\" }}\nbase_url = \"{}\"\n",
        sim.base_url()
    )
}

fn bare(place: &Place) {
    let text = format!("{BARE}connection = \"prod\"\n");
    place.write("named.toml", &pipeline(&[&text, DUCKDB]));
    place.write("bare.toml", &pipeline(&[BARE, DUCKDB]));
}

#[test]
fn a_pipeline_file_needs_only_name_a_connection() {
    let (sim, place) = (store(), Place::new());
    connections(&place, &prod(&sim), 0o600);
    bare(&place);
    let checked = place.mixflow(&["check", "named.toml"]).ended(0);
    // A secret that only its owner can read needs no warning.
    assert!(!checked.stderr.contains("warning"), "{}", checked.stderr);
    place.mixflow(&["run", "named.toml"]).ended(0);
    place
        .mixflow(&["status", "named.toml", "--format", "csv"])
        .ended(0);
    let set = [
        "plan",
        "bare.toml",
        "--set",
        "source.connection=prod",
        "--set",
        "sink.mode=append",
    ];
    place.mixflow(&set).ended(0);
    let fetch = [
        "fetch",
        "events",
        "--from",
        "2024-01-02",
        "--to",
        "2024-01-02",
    ];
    let fetch = fetch.iter().chain(&["--connection", "prod", "--stdout"]);
    let fetch: Vec<&str> = fetch.copied().collect();
    let fetched = place.mixflow(&fetch).ended(0);
    assert!(fetched.stdout_lossy().lines().count() == 2);
}

#[test]
fn connections_are_where_the_environment_keeps_configuration() {
    let (sim, place) = (store(), Place::new());
    bare(&place);
    // One at home, which is not the one that is meant.
    connections(&place, "[other]\nproject_id = 1\n", 0o600);
    connections_in(&place.path("elsewhere"), &prod(&sim), 0o600);
    let check = |config: &Path| {
        let mut command = place.command(&["check", "named.toml"]);
        Ran::of(command.env("XDG_CONFIG_HOME", config).output().unwrap())
    };
    check(&place.path("elsewhere")).ended(0);
    // A relative one counts for nothing, as its specification says.
    check(Path::new("elsewhere")).ended(2);
}

#[test]
fn a_plan_says_who_has_said_what() {
    let (sim, place) = (store(), Place::new());
    connections(&place, &prod(&sim), 0o600);
    bare(&place);
    let plan = |file: &str, more: &[&str]| {
        let args: Vec<&str> = ["plan", file].iter().chain(more).copied().collect();
        let mut command = place.command(&args);
        command
            .env("MIXPANEL_REGION", "eu")
            .env("MIXPANEL_USERNAME", "ann")
            .env("MIXPANEL_PROJECT_ID", "777");
        let said = Ran::of(command.output().unwrap()).ended(0).stdout_lossy();
        let lines = said.lines().skip(2);
        let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("days")).collect();
        lines.join("\n").replace(sim.base_url(), "http://SERVER")
    };
    assert_eq!(
        plan("named.toml", &[]),
        "project     12345, from the connection `prod`\n\
         region      eu, from MIXPANEL_REGION\n\
         base_url    http://SERVER, from the connection `prod`\n\
         account     sim, from the connection `prod`\n\
         secret      from the connection `prod`"
    );
    assert_eq!(
        plan("bare.toml", &["--set", "source.region=in"]),
        "project     777, from MIXPANEL_PROJECT_ID\n\
         region      in, from `--set`\n\
         account     ann, from MIXPANEL_USERNAME\n\
         secret      from MIXPANEL_SECRET"
    );
    // Half of a service account.
    let half = format!("{BARE}project_id = 1\nauth = {{ username = \"svc\" }}\n");
    place.write("half.toml", &pipeline(&[&half, DUCKDB]));
    assert_eq!(
        plan("half.toml", &[]),
        "project     1, from the file\n\
         region      eu, from MIXPANEL_REGION\n\
         account     svc, from the file\n\
         secret      from MIXPANEL_SECRET"
    );
}

#[test]
fn a_file_that_others_may_read_is_warned_of_once() {
    let (sim, place) = (store(), Place::new());
    connections(&place, &prod(&sim), 0o644);
    bare(&place);
    let ran = place
        .mixflow(&["check", "named.toml", "named.toml"])
        .ended(0);
    let warned = ran
        .stderr
        .matches("connections.toml`, in which secrets may stand: `chmod 600");
    assert_eq!(warned.count(), 1, "{}", ran.stderr);
}

#[test]
fn a_connection_that_is_not_there_is_one_problem_at_its_place() {
    let place = Place::new();
    bare(&place);
    let problem = |said: &str| {
        let ran = place.mixflow(&["check", "named.toml"]).ended(2);
        let ran = ran
            .says("named.toml:5:14: `source.connection`: ")
            .says(said);
        assert_eq!(
            ran.stderr.matches("named.toml:").count(),
            1,
            "{}",
            ran.stderr
        );
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    };
    problem("there is no connection `prod`: there is no file `");
    for (text, said) in [
        ("[prdo]\nproject_id = 1\n", "did you mean `prdo`?"),
        ("[prod]\nauth = { secret = hunter2 }\n", "line 2 is no TOML"),
        ("project_id = 1\n", "`project_id` stands outside of a table"),
        ("[prod]\nregoin = \"eu\"\n", "did you mean `region`?"),
        ("[prod]\nsecret = \"hunter2\"\n", "the unknown key `secret`"),
    ] {
        connections(&place, text, 0o600);
        problem(said);
    }
    // What stands in a connection is checked like what stands in the file.
    connections(&place, "[prod]\nregion = \"mars\"\n", 0o600);
    let ran = place.mixflow(&["check", "named.toml"]).ended(2);
    ran.says("the connection `prod`: `source.region`: unknown variant `mars`");
}

#[test]
fn connections_are_listed_without_their_secrets() {
    let (sim, place) = (store(), Place::new());
    let token = "[other]\nauth = { token = { command = [\"pass\", \"hunter2\"] } }\n";
    connections(&place, &format!("{}{token}", prod(&sim)), 0o600);
    let ran = place
        .mixflow(&["connections", "list", "--format", "csv"])
        .ended(0);
    assert_eq!(
        ran.stdout_lossy().replace(sim.base_url(), "http://SERVER"),
        "connection,project_id,region,account,secret,base_url\n\
         other,,,,command pass,\n\
         prod,12345,,sim,in the file,http://SERVER\n"
    );
}

#[test]
fn connections_are_tested_with_a_small_request_each() {
    let (sim, place) = (store(), Place::new());
    let wrong = prod(&sim)
        .replace("[prod]", "[wrong]")
        .replace(SECRET, "no");
    connections(&place, &format!("{}{wrong}", prod(&sim)), 0o600);
    let ran = place.mixflow(&["connections", "test", "prod"]).ended(0);
    let said = ran.stdout_lossy();
    let begins = "connection  prod\ncredentials ok, they may read the events of project 12345\n";
    assert!(said.starts_with(begins), "{said}");
    assert_eq!(sim.requests().len(), 1);
    place.mixflow(&["connections", "test"]).ended(4);
    let requests = sim.requests().len();
    place
        .mixflow(&["connections", "test", "prod", "prdo"])
        .ended(2)
        .says("did you mean `prod`?");
    assert_eq!(sim.requests().len(), requests);
}

#[test]
fn a_replay_needs_no_secret_of_a_connection() {
    let (sim, place) = (store(), Place::new());
    let text = prod(&sim).replace(SECRET, "${ITS_SECRET}");
    connections(&place, &text, 0o600);
    let archive = "[archive]\npath = \"archive\"\n";
    let named = format!("{BARE}connection = \"prod\"\n");
    place.write("named.toml", &pipeline(&[&named, DUCKDB, archive]));
    let mut run = place.command(&["run", "named.toml"]);
    Ran::of(run.env("ITS_SECRET", SECRET).output().unwrap()).ended(0);
    let replace = ["replay", "named.toml", "--set", "sink.mode=replace"];
    place.mixflow(&replace).ended(0);
}
