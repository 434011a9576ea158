//! `hash`: replaces personal data by keyed hashes.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use hmac::{Hmac, KeyInit as _, Mac as _};
use mixflow_core::config::{Env, Invalid, SecretSource};
use mixflow_core::context::{Notice, RunContext, UnitContext};
use mixflow_core::error::Result;
use mixflow_core::fit::Provenance;
use mixflow_core::registry::{BuildContext, ComponentDoc, OptionDoc, Registry};
use mixflow_core::source::BatchIter;
use mixflow_core::stand_in::StandIns;
use mixflow_core::text::hex;
use mixflow_core::transform::{Transform, TransformSession};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::Sha256;

use super::json::PathText;
use super::scrub::Scrub;

const DOC: ComponentDoc = ComponentDoc {
    name: "hash",
    about: "replaces personal data by HMAC-SHA-256, 64 hexadecimal digits; the same text and key give the same hash, and nulls stay null; ids of events that came without one then depend on the key, too",
    options: &[
        OptionDoc::new(
            "columns",
            "list of columns, of texts",
            "the columns to hash",
        ),
        OptionDoc::new(
            "properties",
            "list of paths: \"$email\", \"user.phone\", [\"key.with.dots\"]",
            "values inside `properties` to hash, also in each object of a list on the way; one that is not text is hashed as its JSON",
        ),
        OptionDoc::new(
            "key",
            "{ env = \"NAME\" } | { file = \"…\" } | { command = [\"…\"] }, required",
            "the secret without which nobody can find a text by hashing guesses; at least 16 bytes, always the same",
        ),
    ],
};

/// A key with fewer bytes could be guessed.
const SHORTEST_KEY: usize = 16;

/// What the key for ids is a hash of, so that it is not the key itself.
const LENT: &str = "mixflow: the key of stand-in ids";

pub(super) fn register(registry: &mut Registry) {
    registry
        .add_transform(DOC, |options: HashOptions, input, cx| {
            let hash = Hash::new(options, input, cx)?;
            Ok(Box::new(hash))
        })
        .takes::<HashOptions>();
}

/// The options of `hash`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HashOptions {
    /// The columns to hash.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The values inside `properties` to hash.
    #[serde(default)]
    pub properties: Vec<PathText>,
    /// The secret that hashes depend on.
    pub key: SecretSource,
}

/// Replaces texts by keyed hashes.
pub struct Hash {
    schema: SchemaRef,
    scrub: Scrub,
    secret: SecretSource,
    env: Env,
    in_the_file: bool,
}

impl Hash {
    /// Builds the transform against the schema of its input.
    ///
    /// Fails for columns that are not texts. Does not look for the key.
    pub fn new(
        options: HashOptions,
        input: &SchemaRef,
        cx: &BuildContext,
    ) -> Result<Hash, Vec<Invalid>> {
        let in_the_file =
            matches!(options.key, SecretSource::Plain(_)) && !cx.expanded.contains("key");
        Ok(Hash {
            scrub: Scrub::new(DOC.name, &options.columns, &options.properties, input)?,
            schema: SchemaRef::clone(input),
            secret: options.key,
            env: cx.env.clone(),
            in_the_file,
        })
    }

    /// Reads the key and warns of a short one.
    fn keyed(&self, cx: &RunContext) -> Result<Keyed> {
        let secret = self
            .secret
            .resolve("key of `hash`", &self.env, &cx.cancel)?;
        let bytes = secret.expose().as_bytes();
        if bytes.len() < SHORTEST_KEY {
            cx.notify(Notice::Warning(format!(
                "the key of `hash` has fewer than {SHORTEST_KEY} bytes, so it could be guessed; `openssl rand -hex 32` makes a good one"
            )));
        }
        Ok(Keyed {
            scrub: self.scrub.clone(),
            key: Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length"),
        })
    }
}

impl Transform for Hash {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    fn open(&self, cx: &RunContext) -> Result<Box<dyn TransformSession>> {
        Ok(Box::new(self.keyed(cx)?))
    }

    fn warnings(&self) -> Vec<String> {
        if !self.in_the_file {
            return Vec::new();
        }
        let warning = "the key of `hash` stands in the pipeline file as plain text; `{ env = \"…\" }` or `{ file = \"…\" }` keeps it out of backups and version control";
        vec![warning.to_owned()]
    }
}

/// A run's `hash`, with the key that was read for it.
struct Keyed {
    scrub: Scrub,
    key: Hmac<Sha256>,
}

impl Keyed {
    fn replace(&self, records: &RecordBatch, missed: &mut dyn FnMut(usize)) -> Result<RecordBatch> {
        self.scrub
            .apply(records, missed, |text| hashed(&self.key, text))
    }
}

impl TransformSession for Keyed {
    fn stream<'a>(&'a self, batches: BatchIter<'a>, cx: &'a UnitContext) -> BatchIter<'a> {
        let apply =
            |records: &RecordBatch, missed: &mut dyn FnMut(usize)| self.replace(records, missed);
        self.scrub.stream(batches, cx, apply)
    }

    fn stand_ins(&self) -> Option<StandIns> {
        Some(StandIns::keyed(hashed(&self.key, LENT).as_bytes()))
    }

    fn provenance(&self, provenance: &mut Provenance) {
        provenance.add("key of `hash`", &fingerprint(&self.key));
    }
}

fn hashed(key: &Hmac<Sha256>, text: &str) -> String {
    let mut mac = key.clone();
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// Returns what tells a key apart from others: PBKDF2-HMAC-SHA256 of it.
///
/// Whoever has it may try keys, as whoever has a hash and its text may. The
/// rounds make each try cost thousands of what one with a hash costs, so that
/// it is never the shorter way to a key, however short that is.
fn fingerprint(key: &Hmac<Sha256>) -> String {
    const ROUNDS: u32 = 10_000;
    let round = |bytes: &[u8]| key.clone().chain_update(bytes).finalize().into_bytes();
    // The salt, and the number of the block.
    let mut last = round(b"mixflow: the key of a hash\0\0\0\x01");
    let mut sum = last;
    for _ in 1..ROUNDS {
        last = round(&last);
        sum.iter_mut()
            .zip(&last)
            .for_each(|(sum, byte)| *sum ^= byte);
    }
    // Half of it tells keys apart; the other half is nobody's business.
    hex(&sum[..16])
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, AsArray as _, StringArray};
    use mixflow_core::config::Secret;
    use mixflow_core::error::ErrorKind;
    use mixflow_core::testing::run_context;
    use proptest::prelude::*;

    use super::super::tests::{events, jsons, rejected};
    use super::*;

    fn built(columns: &[&str], properties: &[&str], key: &str) -> Result<Hash, Vec<Invalid>> {
        let path = |text: &&str| toml::Value::from(*text).try_into().expect("a path");
        let options = HashOptions {
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            properties: properties.iter().map(path).collect(),
            key: SecretSource::Plain(Secret::new(key)),
        };
        let cx = BuildContext::new(jiff::Timestamp::UNIX_EPOCH);
        Hash::new(options, &events(&[]).schema(), &cx)
    }

    fn keyed(columns: &[&str], properties: &[&str], key: &str) -> Keyed {
        let hash = built(columns, properties, key).expect("they fit");
        hash.keyed(&run_context().0).expect("there is a key")
    }

    fn hashing(columns: &[&str], properties: &[&str]) -> Keyed {
        keyed(columns, properties, "what do ya want for nothing?")
    }

    fn replaced(hash: &Keyed, records: &RecordBatch) -> RecordBatch {
        hash.replace(records, &mut |_| {}).expect("it is JSON")
    }

    #[test]
    fn it_is_the_hmac_that_others_compute() {
        // RFC 4231, test case 2: key `Jefe`.
        let key = Hmac::<Sha256>::new_from_slice(b"Jefe").expect("any length");
        assert_eq!(
            hashed(&key, "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn the_fingerprint_tells_keys_apart_and_is_what_pbkdf2_says() {
        let of = |key: &str| {
            let mut provenance = Provenance::default();
            keyed(&["distinct_id"], &[], key).provenance(&mut provenance);
            serde_json::to_value(provenance).expect("it is JSON")
        };
        // hashlib.pbkdf2_hmac("sha256", b"sixteen bytes...", b"mixflow: the key of a hash", 10000)[:16]
        let expected = serde_json::json!({"key of `hash`": "6f0757f56a5d65ba30070794fd30c584"});
        assert_eq!(of("sixteen bytes..."), expected);
        assert_ne!(of("sixteen bytes,,,"), expected);
    }

    #[test]
    fn columns_and_properties_are_hashed_and_nulls_are_not() {
        let input = events(&[
            r#"{"$email":"ann","user":{"phone":12.50,"x":1},"n":null}"#,
            r#"{"user":null}"#,
        ]);
        let hash = hashing(&["distinct_id"], &["$email", "user.phone", "n"]);
        let output = replaced(&hash, &input);
        let key = &hash.key;
        assert_eq!(output.schema(), input.schema());
        assert_eq!(
            output.column(2).as_string::<i32>().value(0),
            hashed(key, "user 0")
        );
        assert_eq!(
            jsons(&output),
            [
                format!(
                    r#"{{"$email":"{}","user":{{"phone":"{}","x":1}},"n":null}}"#,
                    hashed(key, "ann"),
                    hashed(key, "12.50")
                ),
                r#"{"user":null}"#.to_owned()
            ]
        );
        assert_eq!(output.column(0), input.column(0));
    }

    #[test]
    fn ids_for_events_without_one_depend_on_the_key_and_are_no_hash_of_a_text() {
        let of = |key: &str| {
            let stand_ins = keyed(&["distinct_id"], &[], key).stand_ins();
            stand_ins.expect("it takes texts out").id(b"a record")
        };
        assert_eq!(of("sixteen bytes..."), of("sixteen bytes..."));
        assert_ne!(of("sixteen bytes..."), of("sixteen bytes,,,"));
        let hash = keyed(&["distinct_id"], &[], "sixteen bytes...");
        let text = hashed(&hash.key, "a record");
        assert!(!text.starts_with(&of("sixteen bytes...")));
    }

    #[test]
    fn a_null_text_stays_null() {
        let mut columns = events(&["{}"]).columns().to_vec();
        let fields: Vec<_> = events(&[])
            .schema()
            .fields()
            .iter()
            .map(|f| (**f).clone().with_nullable(true))
            .collect();
        columns[2] = std::sync::Arc::new(StringArray::from(vec![None::<&str>]));
        let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(fields));
        let input = RecordBatch::try_new(schema, columns).expect("columns fit");
        let output = hashing(&["distinct_id"], &[])
            .scrub
            .apply(&input, &mut |_| {}, str::to_owned);
        assert!(output.expect("columns fit").column(2).is_null(0));
    }

    #[test]
    fn the_same_text_has_the_same_hash_however_it_is_escaped() {
        let input = events(&[r#"{"a":"\u0041é"}"#, r#"{"a":"A\u00e9"}"#]);
        let output = replaced(&hashing(&[], &["a"]), &input);
        assert_eq!(jsons(&output)[0], jsons(&output)[1]);
        // Half of an emoji has a hash, too.
        let input = events(&[r#"{"a":"\ud83d"}"#]);
        let output = replaced(&hashing(&[], &["a"]), &input);
        assert_eq!(jsons(&output)[0].len(), 64 + r#"{"a":""}"#.len());
    }

    #[test]
    fn a_short_key_is_warned_about_and_a_missing_one_ends_the_run() {
        let (cx, notices) = run_context();
        let open = |key| {
            let hash = built(&["distinct_id"], &[], key).expect("it fits");
            hash.open(&cx).map(drop)
        };
        open("fifteen bytes..").expect("there is a key");
        let notice = notices.try_recv().expect("a warning");
        assert!(
            matches!(notice, Notice::Warning(text) if text.contains("fewer than 16 bytes") && !text.contains("fifteen"))
        );
        open("sixteen bytes...").expect("there is a key");
        assert!(notices.try_recv().is_err());
        let mut hash = built(&["distinct_id"], &[], "x").expect("it fits");
        hash.secret = SecretSource::Env("NAME".to_owned());
        let error = hash.keyed(&cx).map(drop).expect_err("it is not set");
        assert_eq!(
            (error.kind(), error.message()),
            (
                ErrorKind::Config,
                "cannot get the key of `hash` from `NAME`"
            )
        );
    }

    #[test]
    fn each_run_reads_the_key_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        let mut hash = built(&["distinct_id"], &[], "x").expect("it fits");
        hash.secret = SecretSource::File(file.clone());
        let id = |key: &str| {
            std::fs::write(&file, key).expect("it can be written");
            let opened = hash.open(&run_context().0).expect("there is a key");
            opened
                .stand_ins()
                .expect("it takes texts out")
                .id(b"a record")
        };
        let first = id("sixteen bytes...");
        assert_ne!(id("sixteen bytes,,,"), first);
        assert_eq!(id("sixteen bytes..."), first);
    }

    #[test]
    fn a_key_in_the_file_is_warned_about() {
        let hash = built(&["distinct_id"], &[], "x").expect("it fits");
        assert!(hash.warnings()[0].contains("plain text"));
        let cx = BuildContext {
            expanded: ["key".to_owned()].into(),
            ..BuildContext::new(jiff::Timestamp::UNIX_EPOCH)
        };
        let options = HashOptions {
            columns: vec!["distinct_id".to_owned()],
            properties: Vec::new(),
            key: SecretSource::Plain(Secret::new("x")),
        };
        let hash = Hash::new(options, &events(&[]).schema(), &cx).expect("it fits");
        assert_eq!(hash.warnings(), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_text_is_refused_when_the_pipeline_is_built() {
        let message = |columns, properties| rejected(built(columns, properties, "x").map(|_| ()));
        assert_eq!(
            message(&["event_time"], &[]),
            "columns: the column `event_time` is timestamp, and this needs text"
        );
        assert_eq!(
            message(&["properties"], &[]),
            "columns: the column `properties` is json, and this needs text; what is inside is named under `properties`"
        );
        assert_eq!(
            message(&["distinct_di"], &[]),
            "columns.0: there is no column `distinct_di`, did you mean `distinct_id`?"
        );
        assert_eq!(
            message(&[], &["user.phone", "user"]),
            "properties.1: `user` and `user.phone` are the same value, or one is inside the other"
        );
        assert_eq!(
            message(&[], &[]),
            ": this names neither `columns` nor `properties`"
        );
    }

    #[test]
    fn the_options_are_described() {
        mixflow_core::testing::assert_described::<HashOptions>(&DOC);
    }

    /// A JSON text, and the same with `"#"` for each value of `a` and `b.a`.
    fn pair() -> impl Strategy<Value = (String, String)> {
        let value = prop::sample::select(vec![
            "1.50",
            "\"a\\u0041\"",
            "[{\"a\":1}]",
            "true",
            "{\"c\" : 1}",
            "-0e5",
            "\"\\ud83d\"",
        ]);
        let key = prop::sample::select(vec!["a", "b", "\\u0061", "c", "é"]);
        let space = prop::sample::select(vec!["", " ", "\n\t"]);
        let member = (key, value, space, any::<bool>());
        prop::collection::vec(member, 0..6).prop_map(|members| {
            let (mut before, mut after) = (String::new(), String::new());
            for (n, (key, value, space, nested)) in members.into_iter().enumerate() {
                let comma = if n > 0 { "," } else { "" };
                let hit = key == "a" || key == "\\u0061";
                if nested && key == "b" {
                    before += &format!("{comma}{space}\"b\":{{\"a\"{space}:{value}}}");
                    after += &format!("{comma}{space}\"b\":{{\"a\"{space}:\"#\"}}");
                } else {
                    let new = match (key, value) {
                        _ if hit => "\"#\"",
                        // In each object of a list, too.
                        ("b", "[{\"a\":1}]") => "[{\"a\":\"#\"}]",
                        _ => value,
                    };
                    before += &format!("{comma}{space}\"{key}\":{space}{value}");
                    after += &format!("{comma}{space}\"{key}\":{space}{new}");
                }
            }
            (format!("{{{before}}}"), format!("{{{after}}}"))
        })
    }

    proptest! {
        #[test]
        fn every_other_byte_stays((before, after) in pair()) {
            let hash = hashing(&[], &["a", "b.a"]);
            let output = hash.scrub.apply(&events(&[&before]), &mut |_| {}, |_| "#".to_owned());
            prop_assert_eq!(jsons(&output.expect("it is JSON")), [after]);
        }
    }
}
