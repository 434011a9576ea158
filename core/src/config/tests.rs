//! Pipeline files, with components that are only for the test.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use jiff::Timestamp;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::context::Delivery;
use crate::engine::{OnFailure, Pipeline};
use crate::registry::{BuildContext, ComponentDoc, Registry};
use crate::sink::Sink;
use crate::source::Source;
use crate::suggest::did_you_mean;
use crate::testing::{TestSink, TestSource, good};
use crate::transform::Stateless;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only whether it can be read matters")]
struct SourceOptions {
    rows: Option<u64>,
    names: Option<Vec<String>>,
    auth: Option<Auth>,
    base_url: Option<String>,
    day: Option<DateSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only whether it can be read matters")]
struct Auth {
    username: Option<String>,
    secret: Option<SecretSource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SinkOptions {
    path: Option<String>,
    raw: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectOptions {
    keep: Vec<String>,
}

/// Some of the columns.
#[derive(Clone)]
struct Selected(SchemaRef);

impl Selected {
    fn new(options: SelectOptions, input: &SchemaRef) -> Result<Selected, Vec<Invalid>> {
        let names: Vec<&str> = input.fields().iter().map(|f| f.name().as_str()).collect();
        let mut columns = Vec::new();
        let mut problems = Vec::new();
        for (n, name) in options.keep.iter().enumerate() {
            match input.index_of(name) {
                Ok(at) => columns.push(at),
                Err(_) => problems.push(Invalid::new(
                    format!("keep.{n}"),
                    format!("there is no column `{name}`{}", did_you_mean(name, &names)),
                )),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let schema = input.project(&columns).expect("the columns are its own");
        Ok(Selected(Arc::new(schema)))
    }
}

impl Stateless for Selected {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }

    fn apply(&self, records: RecordBatch) -> crate::Result<RecordBatch> {
        Ok(records)
    }
}

const fn doc(name: &'static str) -> ComponentDoc {
    ComponentDoc {
        name,
        about: "for tests",
        options: &[],
    }
}

fn registry() -> Registry {
    let mut registry = Registry::empty();
    registry.add_transform(doc("select"), |options: SelectOptions, input, _| {
        Ok(Box::new(Selected::new(options, input)?))
    });
    registry.add_source(
        doc("numbers"),
        None,
        |options: SourceOptions, _| match options.rows {
            Some(13) => Err(vec![Invalid::new("rows", "13 brings bad luck")]),
            _ if options.base_url.is_some() => Err(vec![Invalid::new("base_url", "no URL")]),
            rows => Ok(Box::new(TestSource::new([good(rows.unwrap_or(1))])) as Box<dyn Source>),
        },
    );
    registry.add_sink(doc("log"), |options: SinkOptions, _| {
        let sink = TestSink::recording().called(options.path.as_deref().unwrap_or("log"));
        Ok(match (options.raw, options.path.as_deref()) {
            (Some(true), _) => Box::new(sink.raw()) as Box<dyn Sink>,
            (_, Some("days")) => Box::new(sink.replacing_days()),
            (_, Some("pipe")) => Box::new(sink.transactional(false)),
            _ => Box::new(sink),
        })
    });
    registry
}

pub(super) fn built(text: &str, env: &Env, overrides: &[Override]) -> Result<Pipeline, String> {
    let document = Document::parse("p.toml", text, env, overrides);
    let cx = BuildContext {
        env: env.clone(),
        ..BuildContext::new(Timestamp::UNIX_EPOCH)
    };
    build(document, "p", &registry(), &cx).map_err(|problems| problems.to_string())
}

fn build_text(text: &str) -> Result<Pipeline, String> {
    built(text, &Env::empty(), &[])
}

fn problems(text: &str) -> String {
    build_text(text).expect_err("something is wrong")
}

const MINIMAL: &str = "[source]\ntype = \"numbers\"\n[sink]\ntype = \"log\"\n";

#[test]
fn a_minimal_file_has_the_documented_defaults() {
    let pipeline = build_text(MINIMAL).expect("it is fine");
    assert_eq!(pipeline.name, "p");
    assert_eq!(
        (
            pipeline.source_type.as_str(),
            pipeline.sinks.first().kind.as_str()
        ),
        ("numbers", "log")
    );
    assert_eq!(pipeline.options.workers.get(), 1);
    assert_eq!(pipeline.options.on_failure, OnFailure::Abort);
    assert_eq!(pipeline.options.delivery, None);
    assert_eq!(pipeline.options.min_rows, 0);
    // Several workers keep what they have.
    let text = format!(
        "name = \"mine\"\n{MINIMAL}path = \"pipe\"\n[run]\nworkers = 4\ndelivery = \"direct\"\n"
    );
    let pipeline = build_text(&text).expect("it is fine");
    assert_eq!(pipeline.name, "mine");
    assert_eq!(pipeline.options.on_failure, OnFailure::Keep);
    assert_eq!(pipeline.options.delivery, Some(Delivery::Direct));
}

#[test]
fn rows_that_are_to_go_straight_into_a_transaction_are_found_before_a_run() {
    let text = format!("{MINIMAL}[run]\ndelivery = \"direct\"\n");
    insta::assert_snapshot!(problems(&text), @r#"
    p.toml:6:12: `run.delivery`: `direct` is for a sink that cannot take rows back, and this one can
      |
    6 | delivery = "direct"
      |            ^^^^^^^^
    "#);
}

#[test]
fn every_problem_has_its_place_and_a_caret() {
    let text = "name = 1\n\
        [sorce]\n\
        [source]\n\
        type = \"numbers\"\n\
        rows = 13\n\
        names = [\"ä\", 2]\n\
        [sink]\n\
        type = \"lug\"\n\
        [run]\n\
        min_rows = -1\n";
    insta::assert_snapshot!(problems(text), @r#"
    p.toml:1:8: `name`: invalid type: integer `1`, expected a string
      |
    1 | name = 1
      |        ^

    p.toml:2:2: `sorce`: unknown field `sorce`, expected one of `name`, `source`, `transform`, `sink`, `run`, `archive`, `notify`, did you mean `source`?
      |
    2 | [sorce]
      |  ^^^^^

    p.toml:5:8: `source.rows`: 13 brings bad luck
      |
    5 | rows = 13
      |        ^^

    p.toml:6:15: `source.names`: invalid type: integer `2`, expected a string
      |
    6 | names = ["ä", 2]
      |               ^

    p.toml:8:8: `sink.type`: there is no sink `lug`, known are `log`
      |
    8 | type = "lug"
      |        ^^^^^

    p.toml:10:12: `run.min_rows`: invalid value: integer `-1`, expected a whole number from 0
       |
    10 | min_rows = -1
       |            ^^
    "#);
}

#[test]
fn missing_parts_are_named() {
    insta::assert_snapshot!(problems("[sink]\npath = \"x\"\n"), @r#"
    p.toml:1:2: `sink`: `type` is missing, such as `type = "log"`
      |
    1 | [sink]
      |  ^^^^

    p.toml: there is no `[source]` table; it needs at least `type`, such as `type = "numbers"`
    "#);
}

#[test]
fn stages_that_do_not_fit_are_refused() {
    let transform = "[[transform]]\ntype = \"select\"\n";
    let raw = format!("{MINIMAL}raw = true\n{transform}keep = [\"row\"]\n");
    assert!(problems(&raw).contains("raw records pass untouched"));
    let days = format!("{MINIMAL}path = \"days\"\n");
    assert!(problems(&days).contains("`replace_window` needs a source whose partitions are days"));
    let unknown = format!("{MINIMAL}{transform}keep = [\"partitoin\"]\n");
    insta::assert_snapshot!(problems(&unknown), @r#"
    p.toml:7:9: `transform.0.keep.0`: there is no column `partitoin`, did you mean `partition`?
      |
    7 | keep = ["partitoin"]
      |         ^^^^^^^^^^^
    "#);
}

#[test]
fn each_transform_is_checked_against_what_comes_out_of_the_one_before() {
    let text = format!(
        "{MINIMAL}\
         [[transform]]\ntype = \"select\"\nkeep = [\"row\"]\n\
         [[transform]]\ntype = \"select\"\nkeep = [\"row\"]\n\
         [[transform]]\ntype = \"select\"\nkeep = [\"partition\"]\n"
    );
    let problems = problems(&text);
    assert!(
        problems.starts_with("p.toml:13:9: `transform.2.keep.0`: there is no column `partition`"),
        "{problems}"
    );
    assert!(!problems.contains("transform.1"), "{problems}");
}

#[test]
fn variables_are_put_into_texts_alone_and_after_parsing() {
    let env = Env::fixed([("A", "x\"\n[sink]"), ("EMPTY", "")]);
    let text = MINIMAL.to_owned() + "path = \"${A}-${B:-b}-${EMPTY:-e}-${EMPTY}\"\n";
    assert!(built(&text, &env, &[]).is_ok());
    let text = MINIMAL.to_owned() + "path = \"${C}\"\n";
    let problems = built(&text, &env, &[]).expect_err("it is not set");
    assert!(
        problems.starts_with("p.toml:5:8: `sink.path`: the environment variable `C` is not set"),
        "{problems}"
    );
    let text = MINIMAL.to_owned() + "path = \"${C\"\n";
    assert!(
        built(&text, &env, &[])
            .err()
            .is_some_and(|p| p.contains("has no `}`"))
    );
}

#[test]
fn overrides_replace_add_and_are_pointed_at() {
    let set = |key: &str, value: &str| {
        let guess = OverrideValue::Guess(value.to_owned());
        Override::set(key, guess, format!("--set {key}={value}"))
    };
    let overrides = [
        set("run.workers", "3"),
        set("sink.path", "no quotes needed"),
        set("source.names", "[\"a\", \"b\"]"),
    ];
    let pipeline = built(MINIMAL, &Env::empty(), &overrides).expect("it is fine");
    assert_eq!(pipeline.options.workers.get(), 3);
    for (key, value, says) in [
        ("source.rows", "x", "--set source.rows=x: `source.rows`: "),
        ("source.rosw", "1", "did you mean `rows`?"),
        ("source", "1", "--set source=1"),
        ("", "1", "a key looks like `sink.mode`"),
        ("sink.type.x", "1", "`type` is not a table"),
        ("transform.0.keep", "1", "transform"),
    ] {
        let problems = built(MINIMAL, &Env::empty(), &[set(key, value)])
            .err()
            .unwrap_or_else(|| panic!("{key} is wrong"));
        assert!(problems.contains(says), "{key}: {problems}");
    }
}

#[test]
fn no_secret_is_shown_whatever_is_wrong_beside_it() {
    for line in [
        "auth = { username = 1, secret = \"hunter22\" }",
        "auth = { sercet = \"hunter22\" }",
        "auth = { secret = { evn = \"hunter22\" } }",
        "auth = { secret = [\"hunter22\"] }",
        "auth = \"hunter22\"",
        "auth = { secret = 'hunter22' ",
        "auth = { secret = \"hunter22",
        "secret = \"hunter22\"",
        "auth.secret.x = \"hunter22\"",
    ] {
        let text = format!("[source]\ntype = \"numbers\"\n{line}\n[sink]\ntype = \"log\"\n");
        let problems = problems(&text);
        assert!(!problems.contains("hunter22"), "{problems}");
    }
    let secret = OverrideValue::Guess("hunter22".to_owned());
    let set = Override::set(
        "source.auth",
        secret,
        "--set source.auth=hunter22".to_owned(),
    );
    let problems = built(MINIMAL, &Env::empty(), &[set]).expect_err("no table");
    assert!(!problems.contains("hunter22"), "{problems}");
}

/// A text that is nearly a pipeline file.
fn nearly() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "[source]\n", "[sink]\n", "[run]\n", "[[transform]]\n", "type = \"numbers\"\n",
            "type = \"log\"\n", "type = \"select\"\n", "rows = 1\n", "rows = 13\n",
            "names = [\"a\", \"${B:-c}\"]\n", "auth = { secret = { env = \"X\" } }\n",
            "day = \"-7d\"\n", "day = 2024-01-31\n", "keep = [\"row\"]\n", "workers = 2\n",
            "path = \"${A}\"\n", "name = \"x\"\n", "auth.secret = \"s\"\n", "# note\n",
        ])
        .prop_map(str::to_owned),
        1 => "[\\x00-\\x7fäé\u{1f600}]{0,6}",
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is written, it is a pipeline or a list of problems that can
    /// be shown.
    #[test]
    fn no_text_is_too_odd_to_be_told_about(
        text in nearly(),
        key in "[a-z.0-9]{0,14}",
        value in "[a-z0-9\\[\\]{}\"=.]{0,8}",
    ) {
        let env = Env::fixed([("A", "a")]);
        let guess = OverrideValue::Guess(value);
        let overrides = [Override::set(key, guess, "--set".to_owned())];
        for overrides in [&[][..], &overrides] {
            if let Err(problems) = built(&text, &env, overrides) {
                prop_assert!(!problems.is_empty());
            }
        }
    }
}

/// To show a problem takes a look at the whole text, and to find one more key
/// that is not known takes another reading of its table.
#[test]
fn of_many_problems_the_first_are_told() {
    let names: Vec<String> = (0..300).map(|n| format!("\"no{n}\"")).collect();
    let select = format!(
        "{MINIMAL}[[transform]]\ntype = \"select\"\nkeep = [{}]\n",
        names.join(", ")
    );
    let told = problems(&select);
    assert_eq!(told.matches("there is no column").count(), 100);
    assert!(told.ends_with("\n\np.toml: and 200 more"), "{told}");
    // Nor is the one long line shown with each of them.
    assert!(told.len() < 100 * 600, "{}", told.len());
    let keys: String = (0..300).map(|n| format!("no{n} = 1\n")).collect();
    let told = problems(&format!("{MINIMAL}[run]\n{keys}"));
    assert_eq!(told.matches("unknown field").count(), 100);
}

#[test]
fn of_a_long_line_the_part_with_the_problem_is_shown() {
    let names: Vec<String> = (0..200).map(|n| format!("\"é{n}\"")).collect();
    let before = names.join(", ");
    let transform = format!("[[transform]]\ntype = \"select\"\nkeep = [{before}, \"row\"]\n");
    let told = problems(&format!("{MINIMAL}{transform}"));
    let first = told.split("\n\n").next().unwrap_or_default();
    let last = told.split("\n\n").nth(99).unwrap_or_default();
    for (shown, name) in [(first, "\"é0\""), (last, "\"é99\"")] {
        let lines: Vec<&str> = shown.lines().collect();
        let [.., source, caret] = lines.as_slice() else {
            panic!("{shown}");
        };
        let at = caret.chars().position(|char| char == '^').expect("a caret");
        let marked: String = source.chars().skip(at).take(name.chars().count()).collect();
        assert_eq!(marked, name, "{shown}");
        assert!(source.chars().count() < 320, "{source}");
    }
}

/// Two sinks with further keys.
fn two_sinks(first: &str, second: &str) -> String {
    let log = "[[sink]]\ntype = \"log\"\n";
    format!("[source]\ntype = \"numbers\"\n{log}path = \"a\"\n{first}{log}path = \"b\"\n{second}")
}

#[test]
fn a_pipeline_may_have_several_sinks() {
    let pipeline = build_text(&two_sinks("", "")).expect("it is fine");
    let places = pipeline.destinations().into_iter().map(|place| place.uri);
    assert_eq!(places.collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(pipeline.sinks.kinds(), "log, log");
    let one = MINIMAL.replace("[sink]", "[[sink]]");
    let pipeline = build_text(&one).expect("it is fine");
    assert!(!pipeline.sinks.are_several());
}

#[test]
fn what_is_wrong_with_several_sinks_is_told_at_its_place() {
    let text = two_sinks("pth = 1\n", "raw = \"yes\"\n");
    let told = problems(&text);
    assert!(told.contains("unknown field `pth`"), "{told}");
    assert!(told.contains("invalid type: string"), "{told}");
    let told = problems("sink = []\n[source]\ntype = \"numbers\"\n");
    assert!(told.contains("there is no `[sink]` table"), "{told}");
    let told = problems(&two_sinks("", "").replace("\"b\"", "\"days\""));
    assert!(told.contains("`replace_window` needs a source"), "{told}");
    assert!(told.contains("p.toml:6"), "{told}");
}

#[test]
fn sinks_take_records_of_one_form() {
    let told = problems(&two_sinks("", "raw = true\n"));
    let said = "this sink wants raw records and `sink.0` wants named columns";
    assert!(told.contains(said), "{told}");
    assert!(build_text(&two_sinks("raw = true\n", "raw = true\n")).is_ok());
}

#[test]
fn two_sinks_do_not_write_to_one_destination() {
    let told = problems(&two_sinks("", "").replace("\"b\"", "\"a\""));
    assert!(told.contains("`sink.0` writes to a, too"), "{told}");
}

#[test]
fn rows_go_directly_only_to_sinks_that_all_cannot_take_them_back() {
    let text = two_sinks("", "").replace("\"b\"", "\"pipe\"") + "[run]\ndelivery = \"direct\"\n";
    let told = problems(&text);
    assert!(told.contains("`direct` is for a sink that"), "{told}");
}

#[test]
fn an_override_says_which_sink_it_means() {
    let set = |text: &str, argument: &str| {
        let overrides = [Override::from_argument("--set", argument).expect("it has a value")];
        built(text, &Env::empty(), &overrides)
    };
    let pipeline = set(&two_sinks("", ""), "sink.1.path=c").expect("it is fine");
    assert_eq!(pipeline.destinations()[1].uri, "c");
    let told = set(&two_sinks("", ""), "sink.path=c").expect_err("which?");
    let said = "there are 2 of `[[sink]]`: say which, such as `sink.0.path`";
    assert!(told.contains(said), "{told}");
    let told = set(&two_sinks("", ""), "sink.2.path=c").expect_err("there is none");
    assert!(told.contains("`sink` has no table number `2`"), "{told}");
    let one = MINIMAL.replace("[sink]", "[[sink]]");
    let pipeline = set(&one, "sink.path=c").expect("there is one");
    assert_eq!(pipeline.destination().uri, "c");
}
