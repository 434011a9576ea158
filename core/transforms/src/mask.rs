//! `mask`: hides the characters of personal data.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use mixflow_core::config::Invalid;
use mixflow_core::context::UnitContext;
use mixflow_core::error::Result;
use mixflow_core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_core::source::BatchIter;
use mixflow_core::stand_in::StandIns;
use mixflow_core::transform::Stateless;
use schemars::JsonSchema;
use serde::Deserialize;

use super::json::PathText;
use super::scrub::Scrub;

const DOC: ComponentDoc = ComponentDoc {
    name: "mask",
    about: "hides the characters of personal data but for some at the ends; a text with no more than these is hidden whole, and nulls stay null; ids of events that came without one are then made of the row that is left",
    options: &[
        OptionDoc::new(
            "columns",
            "list of columns, of texts",
            "the columns to mask",
        ),
        OptionDoc::new(
            "properties",
            "list of paths: \"$email\", \"user.phone\", [\"key.with.dots\"]",
            "values inside `properties` to mask, also in each object of a list on the way; one that is not text is masked as its JSON",
        ),
        OptionDoc::new(
            "keep_first",
            "number, default 0",
            "characters to show at the beginning",
        ),
        OptionDoc::new(
            "keep_last",
            "number, default 0",
            "characters to show at the end",
        ),
        OptionDoc::new(
            "with",
            "a character, default \"*\"",
            "what stands for each hidden one",
        ),
    ],
};

pub(super) fn register(registry: &mut Registry) {
    registry
        .add_transform(DOC, |options: MaskOptions, input, _| {
            let mask = Mask::new(&options, input)?;
            Ok(Box::new(mask))
        })
        .takes::<MaskOptions>();
}

/// The options of `mask`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaskOptions {
    /// The columns to mask.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The values inside `properties` to mask.
    #[serde(default)]
    pub properties: Vec<PathText>,
    /// How many characters to show at the beginning.
    #[serde(default)]
    pub keep_first: u32,
    /// How many characters to show at the end.
    #[serde(default)]
    pub keep_last: u32,
    /// What stands for each hidden character.
    #[serde(default = "star")]
    pub with: char,
}

fn star() -> char {
    '*'
}

/// Hides the characters of texts.
#[derive(Clone, Debug)]
pub struct Mask {
    schema: SchemaRef,
    scrub: Scrub,
    first: usize,
    last: usize,
    with: char,
}

impl Mask {
    /// Builds the transform against the schema of its input.
    ///
    /// Fails for columns that are not texts.
    pub fn new(options: &MaskOptions, input: &SchemaRef) -> Result<Mask, Vec<Invalid>> {
        Ok(Mask {
            scrub: Scrub::new(DOC.name, &options.columns, &options.properties, input)?,
            schema: SchemaRef::clone(input),
            first: options.keep_first as usize,
            last: options.keep_last as usize,
            with: options.with,
        })
    }

    fn hide(&self, records: &RecordBatch, missed: &mut dyn FnMut(usize)) -> Result<RecordBatch> {
        self.scrub.apply(records, missed, |text| self.masked(text))
    }

    fn masked(&self, text: &str) -> String {
        let length = text.chars().count();
        let (first, last) = if length > self.first.saturating_add(self.last) {
            (self.first, self.last)
        } else {
            (0, 0)
        };
        let hidden = first..length - last;
        let chars = text.chars().enumerate();
        chars
            .map(|(n, char)| if hidden.contains(&n) { self.with } else { char })
            .collect()
    }
}

impl Stateless for Mask {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    fn apply(&self, records: RecordBatch) -> Result<RecordBatch> {
        self.hide(&records, &mut |_| {})
    }

    fn stream<'a>(&'a self, batches: BatchIter<'a>, cx: &'a UnitContext) -> BatchIter<'a> {
        let apply =
            |records: &RecordBatch, missed: &mut dyn FnMut(usize)| self.hide(records, missed);
        self.scrub.stream(batches, cx, apply)
    }

    fn stand_ins(&self) -> Option<StandIns> {
        Some(StandIns::of_the_row())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray as _;
    use mixflow_core::testing::{counted, unit_context};

    use super::super::tests::{events, jsons, rejected};
    use super::*;

    fn built(toml: &str) -> Result<Mask, Vec<Invalid>> {
        let options = toml::from_str(toml).expect("they can be read");
        Mask::new(&options, &events(&[]).schema())
    }

    fn masked(options: &str, text: &str) -> String {
        let mask = built(&format!("columns = [\"distinct_id\"]\n{options}"));
        mask.expect("it is text").masked(text)
    }

    #[test]
    fn what_is_kept_is_shown_and_a_short_text_is_hidden_whole() {
        assert_eq!(masked("", "ann"), "***");
        assert_eq!(masked("keep_first = 1\nkeep_last = 2", "abcdé"), "a**dé");
        assert_eq!(masked("keep_first = 1\nkeep_last = 2", "abc"), "***");
        assert_eq!(masked("keep_first = 4294967295", "abc"), "***");
        assert_eq!(
            masked("keep_last = 4\nwith = \"•\"", "+49 170 1234"),
            "••••••••1234"
        );
        assert_eq!(masked("keep_first = 1", ""), "");
    }

    #[test]
    fn columns_and_properties_are_masked_and_nothing_else() {
        let mask = built("columns = [\"insert_id\"]\nproperties = [\"$email\", [\"a.b\", \"n\"]]\nkeep_first = 1").expect("they fit");
        let json =
            r#"{ "$email" : "ann@x", "a.b": {"n":12.50, "m":1.0}, "$email":null, "z":"\u0041"}"#;
        let output = mask.apply(events(&[json])).expect("it is JSON");
        assert_eq!(
            jsons(&output),
            [
                r#"{ "$email" : "a****", "a.b": {"n":"1****", "m":1.0}, "$email":null, "z":"\u0041"}"#
            ]
        );
        assert_eq!(output.column(3).as_string::<i32>().value(0), "i*****");
    }

    #[test]
    fn lists_are_reached_into_and_what_is_not_reached_is_warned_about() {
        let mask = built("properties = [\"items.sku\", \"user.phone\"]").expect("they fit");
        let json = r#"{"items":[{"sku":"ab","n":1},{"sku":7},[{"sku":"c"}],"d"],"user":"+49"}"#;
        let (cx, _) = unit_context();
        let batches = Box::new([Ok(events(&[json, json]))].into_iter());
        let mut stream = mask.stream(batches, &cx);
        let output = stream.next().expect("a batch").expect("it is JSON");
        let hidden = r#"{"items":[{"sku":"**","n":1},{"sku":"*"},[{"sku":"*"}],"d"],"user":"+49"}"#;
        assert_eq!(jsons(&output), [hidden, hidden]);
        let warning = |path| {
            format!(
                "values on the way to `{path}` that are neither objects nor lists of them, so `mask` left them as they are"
            )
        };
        assert_eq!(
            counted(&cx).warnings,
            [(warning("items.sku"), 2), (warning("user.phone"), 2)].into()
        );
    }

    #[test]
    fn wrong_options_are_refused() {
        assert_eq!(
            rejected(built("columns = [\"event_time\"]")),
            "columns: the column `event_time` is timestamp, and this needs text"
        );
        for wrong in [
            "with = \"\"",
            "with = \"ab\"",
            "keep_first = -1",
            "properties = [\"a..b\"]",
        ] {
            assert!(toml::from_str::<MaskOptions>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_options_are_described() {
        mixflow_core::testing::assert_described::<MaskOptions>(&DOC);
    }
}
