//! `mixflow test`: a pipeline's own tests.

use crate::support::Place;

const PIPELINE: &str = r#"
[source]
type = "mixpanel_events"
project_id = 1
auth = { username = "nobody", secret = { env = "NOT_SET" } }
from = "2024-01-01"
to = "2024-01-02"
timezone = "US/Pacific"

[[transform]]
type = "filter"
where = "properties.plan = 'pro'"

[[transform]]
type = "extract"
columns = [{ name = "plan", type = "text" }, { name = "seats", type = "int" }]

[sink]
type = "parquet"
path = "nowhere/events"
mode = "replace_window"
"#;

const TESTS: &str = r#"
[[test]]
name = "only who pays stays"
input = [
    '{"event":"Sign Up","properties":{"time":1704067200,"distinct_id":"a","$insert_id":"1","plan":"free"}}',
    '{"event":"Sign Up","properties":{"time":1704067200,"distinct_id":"b","$insert_id":"2","plan":"pro","seats":3,"tags":["x"]}}',
    '{"event":"Sign Up","properties":{"time":1704067201,"distinct_id":7,"$insert_id":"3","plan":"pro"}}',
]
columns = ["event_name", "event_time", "distinct_id", "insert_id", "properties", "plan", "seats"]

[[test.rows]]
distinct_id = "b"
event_time = 2024-01-01T08:00:00Z
seats = 3
properties = { plan = "pro", seats = 3, tags = ["x"] }

[[test.rows]]
distinct_id = "7"
null = ["seats"]
properties = '{"plan": "pro"}'

[[test]]
name = "what is no event is put aside"
input = ['{"event":"Sign Up"}', '{"event":"x","properties":{"time":1,"distinct_id":"b","plan":"pro"}}']
rejected = 1
rows = [{ event_name = "x" }]
"#;

fn tested(tests: &str) -> (Option<i32>, String, String) {
    let place = Place::new();
    place.write("a.toml", PIPELINE).write("a.test.toml", tests);
    let ran = place.mixflow(&["test", "a.toml"]);
    assert_eq!(place.names(), [""; 0], "a test writes nothing");
    (ran.code, ran.stdout_lossy(), ran.stderr)
}

#[test]
fn records_become_the_rows_that_are_expected() {
    let (code, said, stderr) = tested(TESTS);
    assert_eq!(code, Some(0), "{said}{stderr}");
    assert_eq!(
        said,
        "ok      only who pays stays\nok      what is no event is put aside\n"
    );
}

/// Times of today are read right in any case; these are of a second of 1970.
#[test]
fn times_are_read_as_the_pipeline_asks_for_them() {
    let place = Place::new();
    let tests = r#"
[[test]]
name = "a second"
input = ['{"event":"x","properties":{"time":1000,"distinct_id":"b","plan":"pro"}}']
rows = [{ event_time = 1970-01-01T08:00:01Z }]
"#;
    let in_ms = PIPELINE.replace(
        "[[transform]]\ntype = \"filter\"",
        "time_in_ms = true\n\n[[transform]]\ntype = \"filter\"",
    );
    for (pipeline, code) in [(in_ms.as_str(), 0), (PIPELINE, 1)] {
        place.write("a.toml", pipeline).write("a.test.toml", tests);
        place.mixflow(&["test", "a.toml"]).ended(code);
    }
}

#[test]
fn what_is_not_as_it_should_be_is_named() {
    let wrong = [
        (
            "seats = 3\nprop",
            "seats = 4\nprop",
            "row 1: `seats` is 3, not 4",
        ),
        (
            "tags = [\"x\"] }",
            "tags = [] }",
            "row 1: `properties` is {",
        ),
        (
            "null = [\"seats\"]",
            "seats = 0",
            "row 2: `seats` is null, not 0",
        ),
        (
            "distinct_id = \"7\"",
            "distinctid = \"7\"",
            "row 2 has no column `distinctid`",
        ),
        (
            "rejected = 1",
            "rejected = 2",
            "1 records could not be read, not 2",
        ),
        (
            "\"plan\", \"seats\"]",
            "\"plan\"]",
            "the columns are event_name, event_time",
        ),
        (
            "rows = [{ event_name = \"x\" }]",
            "rows = []",
            "row 1 is too many: {",
        ),
        (
            "rows = [{ event_name = \"x\" }]",
            "rows = [{ }, { }]",
            "1 rows came, not 2",
        ),
    ];
    for (right, is, says) in wrong {
        let tests = TESTS.replace(right, is);
        assert_ne!(tests, TESTS, "{right}");
        let (code, said, stderr) = tested(&tests);
        assert_eq!(code, Some(1), "{is}: {said}{stderr}");
        assert!(said.contains(says), "no `{says}` in {said}");
        assert_eq!(said.matches("failed  ").count(), 1, "{said}");
    }
}

#[test]
fn a_file_that_is_not_there_or_wrong_is_said() {
    let place = Place::new();
    place.write("a.toml", PIPELINE);
    place
        .mixflow(&["test", "a.toml"])
        .ended(2)
        .says("cannot read the tests in `a.test.toml`")
        .says("write them there");
    place.write("a.test.toml", "[[test]]\nname = \"x\"\nimput = []\n");
    place.mixflow(&["test", "a.toml"]).ended(2).says("imput");
}
