//! The filters of profiles, as form fields.

use std::collections::HashSet;

use jiff::Timestamp;
use mixflow_core::config::{Invalid, TextOrNumber};
use serde_json::{Value, json};

use crate::options::ProfilesOptions;

/// What of a project's profiles is wanted.
#[derive(Debug, Default)]
pub(super) struct Filters {
    /// As it is sent.
    pub(super) fields: Vec<(&'static str, String)>,
    /// The time of `behaviors`, which is sent, too.
    pub(super) as_of: Option<i64>,
    /// What is chosen by it, by the names of the options: equal for all ways
    /// to write the same, whenever they are read.
    pub(super) chosen: serde_json::Map<String, Value>,
}

impl Filters {
    /// Turns the options into filters; what is wrong with them goes to
    /// `invalid`.
    ///
    /// `now` is when `behaviors` are evaluated unless the options say otherwise.
    pub(super) fn new(
        options: &ProfilesOptions,
        now: Timestamp,
        invalid: &mut Vec<Invalid>,
    ) -> Filters {
        let mut filters = Filters::default();
        filters.add_where(options, invalid);
        filters.add_ids(options, invalid);
        filters.add_group(options, invalid);
        filters.add_output(options, invalid);
        filters.add_cohort(options, invalid);
        filters.add_behaviors(options, now, invalid);
        filters
    }

    fn add(&mut self, key: &str, name: &'static str, sent: String, chosen: Value) {
        self.fields.push((name, sent));
        self.chosen.insert(key.to_owned(), chosen);
    }

    fn add_where(&mut self, options: &ProfilesOptions, invalid: &mut Vec<Invalid>) {
        let Some(expression) = &options.where_ else {
            return;
        };
        if expression.trim().is_empty() {
            invalid.push(Invalid::new("where", "this is empty; leave it out instead"));
        }
        self.add("where", "where", expression.clone(), json!(expression));
    }

    fn add_ids(&mut self, options: &ProfilesOptions, invalid: &mut Vec<Invalid>) {
        if let Some(TextOrNumber(id)) = &options.distinct_id {
            self.add("distinct_id", "distinct_id", id.clone(), json!(id));
        }
        let Some(ids) = &options.distinct_ids else {
            return;
        };
        if options.distinct_id.is_some() {
            invalid.push(Invalid::new(
                "distinct_ids",
                "this and `distinct_id` exclude each other",
            ));
        }
        if ids.is_empty() {
            invalid.push(Invalid::new("distinct_ids", "this names no profile"));
        }
        let mut known = HashSet::new();
        let ids: Vec<&str> = ids
            .iter()
            .map(|TextOrNumber(id)| id.as_str())
            .filter(|id| known.insert(*id))
            .collect();
        let sent = json!(ids).to_string();
        self.add("distinct_ids", "distinct_ids", sent, json!(ids));
    }

    fn add_group(&mut self, options: &ProfilesOptions, invalid: &mut Vec<Invalid>) {
        let Some(TextOrNumber(id)) = &options.group_id else {
            return;
        };
        // The API's ids are signed 64-bit numbers, as text.
        if id.parse::<i64>().is_err() {
            invalid.push(Invalid::new("group_id", "a group's id is a whole number"));
        }
        self.add("group_id", "data_group_id", id.clone(), json!(id));
    }

    fn add_output(&mut self, options: &ProfilesOptions, invalid: &mut Vec<Invalid>) {
        let Some(names) = &options.output_properties else {
            return;
        };
        if names.is_empty() {
            invalid.push(Invalid::new(
                "output_properties",
                "this names no property; leave it out to get all of them",
            ));
        }
        let sent = json!(names).to_string();
        self.add("output_properties", "output_properties", sent, json!(names));
    }

    fn add_cohort(&mut self, options: &ProfilesOptions, invalid: &mut Vec<Invalid>) {
        let Some(TextOrNumber(id)) = &options.cohort_id else {
            if options.include_all_users.is_some() {
                invalid.push(Invalid::new(
                    "include_all_users",
                    "this needs `cohort_id`; it is about a cohort's members",
                ));
            }
            return;
        };
        match id.parse::<u64>() {
            Ok(number) => self.add(
                "cohort_id",
                "filter_by_cohort",
                json!({ "id": number }).to_string(),
                json!(number),
            ),
            Err(_) => invalid.push(Invalid::new("cohort_id", "a cohort's id is a whole number")),
        }
        // Mixpanel's default is to send them, so leaving it out is no answer.
        let include = options.include_all_users.unwrap_or(false);
        self.add(
            "include_all_users",
            "include_all_users",
            include.to_string(),
            json!(include),
        );
    }

    fn add_behaviors(
        &mut self,
        options: &ProfilesOptions,
        now: Timestamp,
        invalid: &mut Vec<Invalid>,
    ) {
        let Some(behaviors) = &options.behaviors else {
            if options.as_of_timestamp.is_some() {
                invalid.push(Invalid::new(
                    "as_of_timestamp",
                    "this needs `behaviors`; it is the time at which they are evaluated",
                ));
            }
            return;
        };
        if options.cohort_id.is_some() {
            invalid.push(Invalid::new(
                "behaviors",
                "this and `cohort_id` exclude each other",
            ));
        }
        let (sent, chosen) = match behaviors {
            toml::Value::String(text) => {
                let read = serde_json::from_str(text);
                (text.clone(), read.unwrap_or_else(|_| json!(text)))
            }
            other => (json!(other).to_string(), json!(other)),
        };
        self.add("behaviors", "behaviors", sent, chosen);
        // Without it every page but the first is refused.
        self.as_of = options.as_of_timestamp.or(Some(now.as_second()));
        // When that is now, it does not say which profiles these are.
        let chosen = options.as_of_timestamp.map(|seconds| json!(seconds));
        self.chosen
            .extend(chosen.map(|seconds| ("as_of_timestamp".to_owned(), seconds)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(options: &ProfilesOptions) -> Filters {
        let mut invalid = Vec::new();
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        let filters = Filters::new(options, now, &mut invalid);
        assert!(invalid.is_empty(), "{invalid:?}");
        filters
    }

    fn fields(options: &ProfilesOptions) -> Vec<(&'static str, String)> {
        filters(options).fields
    }

    fn ids(texts: &[&str]) -> Vec<TextOrNumber> {
        let id = |text: &&str| TextOrNumber((*text).to_owned());
        texts.iter().map(id).collect()
    }

    #[test]
    fn ids_are_sent_once_each_in_their_order() {
        let options = ProfilesOptions {
            distinct_ids: Some(ids(&["b", "a", "b", "1", "a"])),
            ..ProfilesOptions::default()
        };
        let expected = r#"["b","a","1"]"#.to_owned();
        assert_eq!(fields(&options), [("distinct_ids", expected)]);
    }

    #[test]
    fn a_cohort_says_whether_members_without_a_profile_are_wanted() {
        let mut options = ProfilesOptions {
            cohort_id: Some(TextOrNumber("4".to_owned())),
            ..ProfilesOptions::default()
        };
        let sent = |options: &ProfilesOptions| fields(options)[1].1.clone();
        assert_eq!(fields(&options)[1].0, "include_all_users");
        assert_eq!(sent(&options), "false");
        options.include_all_users = Some(true);
        assert_eq!(sent(&options), "true");
    }

    #[test]
    fn behaviors_have_a_time() {
        let mut options = ProfilesOptions {
            behaviors: Some(toml::Value::String("[]".to_owned())),
            ..ProfilesOptions::default()
        };
        let as_of = |options: &ProfilesOptions| {
            let filters = filters(options);
            (
                filters.as_of,
                filters.chosen.get("as_of_timestamp").cloned(),
            )
        };
        assert_eq!(as_of(&options), (Some(1_700_000_000), None));
        options.as_of_timestamp = Some(7);
        assert_eq!(as_of(&options), (Some(7), Some(json!(7))));
        options.behaviors = None;
        options.as_of_timestamp = None;
        assert_eq!(as_of(&options), (None, None));
    }
}
