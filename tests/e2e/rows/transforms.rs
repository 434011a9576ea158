//! What happens to rows on their way, with the real binary.

use std::path::Path;

use mixflow_tests::sim::{Data, Simulator};
use serde_json::Value;

use crate::support::{
    DUCKDB, Place, Ran, SECRET, STDOUT, events, pipeline, profiles, sim, started,
};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Four events of a day, the second of which is the first once more, later.
fn shop() -> Simulator {
    let line = |name: &str, who: &str, id: &str, more: &str| {
        format!(
            r#"{{"event":"{name}","properties":{{"time":1704067200,"distinct_id":"{who}","$insert_id":"{id}",{more}}}}}"#
        )
    };
    let lines = [
        line(
            "Purchase",
            "ann",
            "i1",
            r#""amount":1,"mp_processing_time_ms":1"#,
        ),
        line(
            "Purchase",
            "ann",
            "i1",
            r#""amount":12.50,"$email":"ann@example.com","cart":{"items":2},"mp_processing_time_ms":2"#,
        ),
        line(
            "Purchase",
            "bob",
            "i2",
            r#""amount":"a lot","$email":null,"mp_processing_time_ms":1"#,
        ),
        line("page view", "bob", "i3", r#""mp_processing_time_ms":1"#),
    ];
    started(sim(Data::from_lines(lines, Vec::<String>::new()).unwrap()))
}

fn shop_events(sim: &Simulator) -> String {
    events(sim, "from = \"2024-01-01\"\nto = \"2024-01-01\"")
}

/// Runs one transform over the shop's events, to standard output.
fn lines(transform: &str) -> (Vec<Value>, Ran, Value) {
    let (sim, place) = (shop(), Place::new());
    let transform = format!("[[transform]]\n{transform}");
    let (ran, report) = place.run(&pipeline(&[&shop_events(&sim), &transform, STDOUT]));
    let ran = ran.ended(0);
    let stdout = ran.stdout_lossy();
    let lines = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    (lines.collect(), ran, report)
}

fn column(lines: &[Value], name: &str) -> Vec<String> {
    lines.iter().map(|line| line[name].to_string()).collect()
}

#[test]
fn filter_keeps_the_rows_for_which_its_condition_is_true() {
    let (rows, ran, report) =
        lines("type = \"filter\"\nwhere = \"event_name = 'Purchase' AND properties.amount >= 10\"");
    assert_eq!(column(&rows, "distinct_id"), ["\"ann\""]);
    assert_eq!(report["row_count"], 1);
    // What is left out on purpose is not missed, and it is told.
    assert_eq!(report["warnings"], Value::Array(Vec::new()));
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    let dropped = serde_json::json!({"filter": {"false": 2, "null": 1}});
    for told in [&report, &report["partitions"][0]] {
        assert_eq!((&told["read"], &told["dropped"]), (&4.into(), &dropped));
    }
    ran.says("read 4 rows, kept 1: `filter` left out 2 (false), 1 (null)");
}

#[test]
fn a_condition_that_leaves_out_more_than_it_seems_is_named_by_check() {
    let (sim, place) = (shop(), Place::new());
    let text = |condition: &str| {
        let transform = format!("[[transform]]\ntype = \"filter\"\nwhere = \"{condition}\"\n");
        pipeline(&[&shop_events(&sim), &transform, STDOUT])
    };
    let denied = "NOT properties.$email LIKE '%@example.com'";
    place.write("t.toml", &text(denied));
    place
        .mixflow(&["check", "t.toml"])
        .ended(0)
        .says("leaves out the rows that have no `properties.$email`")
        .says("`OR properties.$email IS NULL` keeps them");
    place.write(
        "t.toml",
        &text(&format!("{denied} OR properties.$email IS NULL")),
    );
    let checked = place.mixflow(&["check", "t.toml"]).ended(0);
    assert!(!checked.stderr.contains("leaves out"), "{}", checked.stderr);
}

/// Events without `$insert_id`: two are the same, and one differs from them in
/// its phone number alone.
fn calls() -> Simulator {
    let line = |phone: &str| {
        format!(
            r#"{{"event":"call","properties":{{"time":1704067200,"distinct_id":"d","phone":"{phone}"}}}}"#
        )
    };
    let lines = [line("+49170001"), line("+49170001"), line("+49170002")];
    started(sim(Data::from_lines(lines, Vec::<String>::new()).unwrap()))
}

fn calls_through(sim: &Simulator, transforms: &str, key: &str) -> Vec<Value> {
    let place = Place::new();
    place.write(
        "t.toml",
        &pipeline(&[&shop_events(sim), transforms, STDOUT]),
    );
    let output = place
        .command(&["run", "t.toml"])
        .env("HASH_KEY", key)
        .output()
        .unwrap();
    let stdout = Ran::of(output).ended(0).stdout_lossy();
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// With a list of all numbers, a plain hash over the record tells whose it was.
#[test]
fn an_id_that_stands_in_does_not_tell_what_was_hashed_or_masked() {
    let sim = calls();
    let dedupe = "[[transform]]\ntype = \"dedupe\"\n";
    let hash =
        "[[transform]]\ntype = \"hash\"\nproperties = [\"phone\"]\nkey = { env = \"HASH_KEY\" }\n";
    let mask = "[[transform]]\ntype = \"mask\"\nproperties = [\"phone\"]\nkeep_last = 1\n";
    let rename = "[[transform]]\ntype = \"rename\"\ncolumns = { insert_id = \"id\" }\n";
    let ids = |transforms: &[&str], key: &str| {
        let rows = calls_through(&sim, &transforms.concat(), key);
        let id = |row: &Value| row.get("insert_id").or(row.get("id")).unwrap().to_string();
        rows.iter().map(id).collect::<Vec<_>>()
    };
    let plain = ids(&[], KEY);
    assert_eq!((plain.len(), &plain[0]), (3, &plain[1]));
    let other_key = "another key of many bytes";
    for scrubs in [
        hash.to_owned(),
        mask.to_owned(),
        rename.to_owned() + mask,
        mask.to_owned() + hash,
    ] {
        let found = ids(&[&scrubs], KEY);
        assert_eq!((found.len(), &found[0]), (3, &found[1]), "{scrubs}");
        assert_ne!(found[0], found[2], "{scrubs}");
        // The same on every run; nothing that anybody can compute of a guess.
        assert_eq!(found, ids(&[&scrubs], KEY), "{scrubs}");
        assert_eq!(
            found == ids(&[&scrubs], other_key),
            !scrubs.contains("hash")
        );
        for id in &found {
            assert!(!plain.contains(id) && id.len() == 34, "{id}");
            assert!(
                id[1..33].bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{id}"
            );
        }
        let deduped = ids(&[dedupe, &scrubs], KEY);
        assert_eq!(deduped, [found[0].clone(), found[2].clone()], "{scrubs}");
    }
    // Behind `mask` the rows differ no more, and still none is lost.
    let hidden = mask.replace("keep_last = 1", "");
    assert_eq!(ids(&[&hidden, dedupe], KEY).len(), 2);
    let ids = ids(&[dedupe, &hidden], KEY);
    assert_eq!((ids.len(), &ids[0]), (2, &ids[1]));
}

#[test]
fn hash_and_mask_reach_into_lists_and_say_what_they_did_not_reach() {
    let line = r#"{"event":"buy","properties":{"time":1704067200,"distinct_id":"d","$insert_id":"i","items":[{"card":"4711","n":1},{"card":"0815"}],"user":"{\"phone\":\"+49\"}"}}"#;
    let sim = started(sim(Data::from_lines([line], Vec::<&str>::new()).unwrap()));
    let place = Place::new();
    let transforms = "[[transform]]\ntype = \"mask\"\nproperties = [\"items.card\", \"user.phone\"]\n\
        [[transform]]\ntype = \"filter\"\nwhere = \"properties.items.card IS NULL\"\n";
    let (ran, report) = place.run(&pipeline(&[&shop_events(&sim), transforms, STDOUT]));
    let ran = ran.ended(0);
    let warning = "values on the way to `user.phone` that are neither objects nor lists of them, so `mask` left them as they are: 1";
    assert_eq!(report["warnings"], serde_json::json!([warning]));
    let row: Value = serde_json::from_str(&ran.stdout_lossy()).unwrap();
    assert_eq!(
        row["properties"]["items"].to_string(),
        r#"[{"card":"****","n":1},{"card":"****"}]"#
    );
    ran.says(warning);
}

#[test]
fn dedupe_keeps_the_latest_and_counts_the_others() {
    let (rows, ran, report) = lines("type = \"dedupe\"");
    assert_eq!(column(&rows, "insert_id"), ["\"i1\"", "\"i2\"", "\"i3\""]);
    assert_eq!(rows[0]["properties"]["amount"].to_string(), "12.5");
    assert_eq!(
        (&report["row_count"], &report["duplicates"]),
        (&3.into(), &1.into())
    );
    ran.says("left out 1 row as duplicates");
}

#[test]
fn extract_makes_columns_and_says_how_many_values_did_not_fit() {
    let (rows, ran, report) = lines(
        "type = \"extract\"\nremove = true\ncolumns = [{ name = \"amount\", type = \"float\" }, { name = \"items\", path = \"cart.items\", type = \"int\" }]",
    );
    assert_eq!(column(&rows, "amount"), ["1.0", "12.5", "null", "null"]);
    assert_eq!(column(&rows, "items"), ["null", "2", "null", "null"]);
    assert_eq!(rows[2]["properties"]["amount"], "a lot");
    assert_eq!(rows[1]["properties"].get("amount"), None);
    let warning =
        "values that are not float, so null in the column `amount` and left in `properties`: 1";
    assert_eq!(report["warnings"][0], warning);
    ran.says(warning);
}

#[test]
fn extract_can_fail_instead() {
    let (sim, place) = (shop(), Place::new());
    let transform = "[[transform]]\ntype = \"extract\"\non_mismatch = \"fail\"\ncolumns = [{ name = \"amount\", type = \"float\" }]\n";
    let (ran, _) = place.run(&pipeline(&[&shop_events(&sim), transform, DUCKDB]));
    let ran = ran
        .ended(1)
        .says("cannot extract the column `amount`")
        .says("a value is a text, not float")
        .says("on_mismatch");
    assert!(!ran.stderr.contains("a lot"), "{}", ran.stderr);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn hash_mask_rename_and_select_follow_each_other_into_a_table() {
    let (sim, place) = (shop(), Place::new());
    let transforms = "[[transform]]\ntype = \"hash\"\ncolumns = [\"distinct_id\"]\nkey = { env = \"HASH_KEY\" }\n\
        [[transform]]\ntype = \"mask\"\nproperties = [\"$email\"]\nkeep_first = 1\n\
        [[transform]]\ntype = \"rename\"\ncolumns = { distinct_id = \"person\" }\n\
        [[transform]]\ntype = \"select\"\nkeep = [\"person\", \"properties\"]\n";
    place.write(
        "t.toml",
        &pipeline(&[&shop_events(&sim), transforms, DUCKDB]),
    );
    let output = place
        .command(&["run", "t.toml"])
        .env("HASH_KEY", KEY)
        .output()
        .unwrap();
    let ran = Ran::of(output).ended(0);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    // What `openssl dgst -sha256 -hmac` says of `ann` and `bob`.
    assert_eq!(
        place.sql("out.db", "SELECT person, count(*), count(DISTINCT properties->>'/$email') FROM events GROUP BY 1 ORDER BY 1"),
        [
            ["07db5b4bba5fef53c763f1a9cb1ae82cfbf75937aff297f88e797bebf09bfd95", "2", "1"],
            ["643cdfc83364b72c5248ec2d45e7cd58caf99310228f3c6a590bd299519248a7", "2", "0"],
        ]
    );
    assert_eq!(
        place.sql(
            "out.db",
            "SELECT properties->>'/$email' FROM events WHERE properties->>'/$email' IS NOT NULL"
        ),
        [["a**************"]]
    );
}

#[test]
fn a_key_that_is_not_there_is_an_error_before_any_request() {
    let (sim, place) = (shop(), Place::new());
    let transform = "[[transform]]\ntype = \"hash\"\ncolumns = [\"distinct_id\"]\nkey = { env = \"NO_SUCH_KEY\" }\n";
    place.write(
        "t.toml",
        &pipeline(&[&shop_events(&sim), transform, DUCKDB]),
    );
    place.mixflow(&["check", "t.toml"]).ended(0);
    place.mixflow(&["plan", "t.toml"]).ended(0);
    place
        .mixflow(&["run", "t.toml"])
        .ended(2)
        .says("cannot get the key of `hash` from `NO_SUCH_KEY`")
        .says("set NO_SUCH_KEY");
    assert_eq!(sim.requests().len(), 0);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn a_key_that_is_weak_or_in_the_file_is_warned_about_and_never_shown() {
    let (sim, place) = (shop(), Place::new());
    let with = |key: &str, more: &str| {
        let transform = format!(
            "[[transform]]\ntype = \"hash\"\ncolumns = [\"distinct_id\"]\nkey = {key}\n{more}"
        );
        pipeline(&[&shop_events(&sim), &transform, STDOUT])
    };
    place.write("t.toml", &with("{ env = \"SIM_SECRET\" }", ""));
    place
        .mixflow(&["run", "t.toml"])
        .ended(0)
        .says("the key of `hash` has fewer than 16 bytes");
    // `Ran` looks for the secret in what is said.
    let plain = format!("\"{SECRET}\"");
    place.write("t.toml", &with(&plain, ""));
    place
        .mixflow(&["check", "t.toml"])
        .ended(0)
        .says("the key of `hash` stands in the pipeline file");
    place.write("t.toml", &with(&plain, "keep_first = 1\n"));
    place
        .mixflow(&["check", "t.toml"])
        .ended(2)
        .says("unknown field `keep_first`");
    place.write("t.toml", &with(&format!("[{plain}]"), ""));
    place.mixflow(&["check", "t.toml"]).ended(2);
}

#[test]
fn check_finds_what_does_not_fit_and_points_at_it() {
    let sim = shop();
    for (transform, says) in [
        (
            "type = \"filter\"\nwhere = \"event_name > 5\"",
            "`transform.0.where`: `event_name` is text, and `5` is a number: they cannot be compared",
        ),
        ("type = \"filter\"", "missing field `where`"),
        (
            "type = \"extract\"\ncolumns = [{ name = \"insert_id\", type = \"text\" }]",
            "`transform.0.columns.0.name`: there is a column `insert_id` already",
        ),
        (
            "type = \"extract\"\ncolumns = [{ name = \"city\", type = \"text\" }, { name = \"City\", type = \"text\" }]",
            "`transform.0.columns.1.name`: the column `City` differs only in case from `city`",
        ),
        (
            "type = \"extract\"\ncolumns = [{ name = \"x\", type = \"number\" }]",
            "unknown variant `number`",
        ),
        (
            "type = \"rename\"\ncolumns = { event_nam = \"x\" }",
            "`transform.0.columns.event_nam`: there is no column `event_nam`, did you mean `event_name`?",
        ),
        (
            "type = \"hash\"\ncolumns = [\"event_time\"]\nkey = { env = \"X\" }",
            "the column `event_time` is timestamp, and this needs text",
        ),
        (
            "type = \"hash\"\ncolumns = [\"distinct_id\"]",
            "missing field `key`",
        ),
        (
            "type = \"mask\"\nproperties = [\"a..b\"]",
            "the path `a..b` has an empty key",
        ),
        (
            "type = \"select\"\nkeep = [\"event_name\", \"tmie\"]",
            "`transform.0.keep.1`: there is no column `tmie`",
        ),
        ("type = \"dedupe\"\nkey = 1", "unknown field `key`"),
        (
            "type = \"select\"\ndrop = [\"insert_id\"]\n[[transform]]\ntype = \"dedupe\"",
            "`transform.1`: `dedupe` needs the column `insert_id`",
        ),
    ] {
        let place = Place::new();
        let transform = format!("[[transform]]\n{transform}\n");
        place.write(
            "t.toml",
            &pipeline(&[&shop_events(&sim), &transform, DUCKDB]),
        );
        let checked = place.mixflow(&["check", "t.toml"]).ended(2).says(says);
        assert!(checked.stderr.contains("^"), "{}", checked.stderr);
        place.mixflow(&["run", "t.toml"]).ended(2).says(says);
    }
    let place = Place::new();
    let transform = "[[transform]]\ntype = \"dedupe\"\n";
    place.write(
        "t.toml",
        &pipeline(&[&profiles(&sim, ""), transform, DUCKDB]),
    );
    place
        .mixflow(&["check", "t.toml"])
        .ended(2)
        .says("only events have duplicates");
    assert_eq!(sim.requests().len(), 0);
}

#[test]
fn components_lists_every_transform() {
    let listed = Place::new()
        .mixflow(&["components"])
        .ended(0)
        .stdout_lossy();
    for name in [
        "dedupe", "extract", "filter", "hash", "mask", "rename", "select",
    ] {
        assert!(
            listed.contains(&format!("\n  {name}: ")),
            "{name}: {listed}"
        );
    }
}

#[test]
fn several_workers_leave_out_the_same_rows() {
    // The made-up events have no duplicates, so each is there after `dedupe`.
    let place = Place::new();
    let text = |workers| {
        pipeline(&[
            "[source]\ntype = \"synthetic_events\"\nrows = 20000\nseed = 3\nfrom = \"2024-01-01\"\nto = \"2024-01-08\"",
            "[[transform]]\ntype = \"dedupe\"",
            "[[transform]]\ntype = \"filter\"\nwhere = \"event_time < '2024-01-03' OR properties.plan IN ('free', 'pro')\"",
            DUCKDB,
            "mode = \"replace\"",
            &format!("[run]\nworkers = {workers}"),
        ])
    };
    let ask =
        "SELECT count(*), sum(hash(insert_id, properties::VARCHAR)::HUGEINT)::VARCHAR FROM events";
    let mut answers = Vec::new();
    for workers in [1, 4] {
        let (ran, report) = place.run(&text(workers));
        ran.ended(0);
        assert_eq!(report["duplicates"], 0);
        answers.push(place.sql("out.db", ask));
    }
    assert_eq!(answers[0], answers[1]);
    let kept: u32 = answers[0][0][0].parse().unwrap();
    assert!((1..20_000).contains(&kept), "{kept}");
}

#[test]
fn the_pipeline_without_personal_data_runs_and_can_be_run_again() {
    let today = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let first = today.checked_sub(jiff::Span::new().days(9)).unwrap();
    let sim = started(sim(Data::generated_between(first, today, 2_000, 300, 7)));
    let place = Place::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/private.toml");
    for _ in 0..2 {
        let output = place
            .command(&["run", file.to_str().unwrap(), "--report", "report.json"])
            .args(["--set", &format!("source.base_url={}", sim.base_url())])
            .args(["--set", "source.limits.per_second=1000"])
            .env("MIXPANEL_USERNAME", "sim")
            .env("MIXPANEL_SECRET", SECRET)
            .env("MIXPANEL_PROJECT_ID", "12345")
            .env("MIXFLOW_HASH_KEY", KEY)
            .output()
            .unwrap();
        Ran::of(output).ended(0);
        let columns = place.sql("private.db", "SELECT column_name FROM (DESCRIBE purchases)");
        assert_eq!(
            columns.concat(),
            [
                "event_name",
                "event_time",
                "person",
                "insert_id",
                "properties",
                "amount",
                "city"
            ]
        );
        let counts = place.sql(
            "private.db",
            "SELECT count(*) > 0, bool_and(event_name IN ('Purchase', 'checkout')), bool_and(length(person) = 64), count(city) > 0, count(properties->>'/$city') FROM purchases",
        );
        assert_eq!(counts, [["true", "true", "true", "true", "0"]]);
    }
}

fn lower(place: &Place, args: &[&str]) -> Ran {
    crate::sinks::custom::example("lower", place, args)
}

#[test]
fn a_transform_that_is_compiled_in_is_like_any_other() {
    let (sim, place) = (shop(), Place::new());
    let text = |column: &str| {
        let transform = format!("[[transform]]\ntype = \"lower\"\ncolumn = \"{column}\"\n");
        pipeline(&[&shop_events(&sim), &transform, STDOUT])
    };
    let known = lower(&place, &["components"]).ended(0).stdout_lossy();
    assert!(
        known.contains("lower: puts the texts of a column in lower case"),
        "{known}"
    );
    place.write("t.toml", &text("event_nam"));
    lower(&place, &["check", "t.toml"])
        .ended(2)
        .says("`transform.0.column`: there is no column `event_nam` of texts");
    place.write("t.toml", &text("event_name"));
    let lines = lower(&place, &["run", "t.toml"]).ended(0).stdout_lossy();
    assert!(
        lines.contains("\"purchase\"") && !lines.contains("\"Purchase\""),
        "{lines}"
    );
    // The plain binary does not know it.
    place
        .mixflow(&["check", "t.toml"])
        .ended(2)
        .says("there is no transform `lower`");
}
