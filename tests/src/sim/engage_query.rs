//! Which profiles an engage query asks for.

use std::sync::Arc;

use serde_json::Value;

use super::data::Data;
use super::filter::{self, Filter};
use super::json::{self, Member};
use super::params::{self, Params};

/// The parameters of an engage request that select profiles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngageQuery {
    /// An expression over the properties.
    pub where_: Option<String>,
    /// One profile; exclusive with `distinct_ids`.
    pub distinct_id: Option<String>,
    /// Some profiles.
    pub distinct_ids: Option<Vec<String>>,
    /// The group key whose profiles are wanted instead of the users'.
    pub group_id: Option<i64>,
    /// The only properties to send.
    pub output_properties: Option<Vec<String>>,
    /// The members of a cohort: profiles whose index modulo 7 is the cohort's
    /// number modulo 7.
    pub cohort: Option<i64>,
    /// Whether members without a profile are sent; Mixpanel's default is yes.
    pub include_all_users: Option<bool>,
    /// A selection by behaviour: accepted, and true of everybody.
    pub behaviors: Option<String>,
    /// The moment at which `behaviors` is evaluated.
    pub as_of_timestamp: Option<i64>,
}

impl EngageQuery {
    pub(super) fn from_params(params: &Params<'_>) -> Result<Self, String> {
        let list = |name| {
            params
                .get(name)
                .map(|text| params::names(name, text))
                .transpose()
        };
        let whole = |name| {
            let parse = |text: &str| text.parse::<i64>();
            let error = |_| format!("{name} must be a whole number");
            params.get(name).map(parse).transpose().map_err(error)
        };
        Ok(Self {
            where_: params.get("where").map(str::to_owned),
            distinct_id: params.get("distinct_id").map(str::to_owned),
            distinct_ids: list("distinct_ids")?,
            group_id: whole("data_group_id")?,
            output_properties: list("output_properties")?,
            cohort: params.get("filter_by_cohort").map(cohort).transpose()?,
            include_all_users: params.flag("include_all_users")?,
            behaviors: params.get("behaviors").map(str::to_owned),
            as_of_timestamp: whole("as_of_timestamp")?,
        })
    }

    /// Returns the profiles of all pages, in order.
    ///
    /// `without_profile` is the number of cohort members that have no profile;
    /// they follow the others, with no properties.
    pub(super) fn select(
        &self,
        data: &Data,
        without_profile: usize,
    ) -> Result<Vec<Arc<[u8]>>, String> {
        if self.distinct_id.is_some() && self.distinct_ids.is_some() {
            return Err("distinct_id and distinct_ids are mutually exclusive".to_owned());
        }
        if self.behaviors.is_some() && self.cohort.is_some() {
            return Err("behaviors and filter_by_cohort are mutually exclusive".to_owned());
        }
        let expression = self.where_.as_deref().map(Filter::parse).transpose()?;
        let profiles = match &self.group_id {
            None => data.profiles.as_slice(),
            Some(group) => data
                .groups
                .get(group)
                .map(Vec::as_slice)
                .unwrap_or_default(),
        };
        let member = |index: usize| {
            self.cohort
                .is_none_or(|cohort| index as i64 % 7 == cohort.rem_euclid(7))
        };
        let members = profiles
            .iter()
            .enumerate()
            .filter(|(index, _)| member(*index));
        let mut found: Vec<_> = members
            .map(|(_, profile)| Arc::clone(profile))
            .filter(|profile| self.wants(expression.as_ref(), profile))
            .map(|profile| self.reduced(profile))
            .collect();
        if let Some(cohort) = self.cohort
            && self.include_all_users != Some(false)
        {
            found.extend((0..without_profile).map(|index| nobody(cohort, index)));
        }
        Ok(found)
    }

    fn wants(&self, expression: Option<&Filter>, profile: &[u8]) -> bool {
        if self.distinct_id.is_none() && self.distinct_ids.is_none() && expression.is_none() {
            return true;
        }
        let record = std::str::from_utf8(profile).ok().map(json::members);
        let Some(Ok(record)) = record else {
            return false;
        };
        let raw_id = json::last(&record, "$distinct_id");
        let id = raw_id.map_or_else(String::new, json::text_of);
        let in_list = |ids: &Vec<String>| ids.contains(&id);
        self.distinct_id.as_ref().is_none_or(|wanted| *wanted == id)
            && self.distinct_ids.as_ref().is_none_or(in_list)
            && expression.is_none_or(|expression| {
                let properties = json::last(&record, "$properties").map(json::members);
                let properties = properties.and_then(Result::ok).unwrap_or_default();
                expression.matches(&|name| match name {
                    "$distinct_id" => raw_id.map(filter::value),
                    _ => json::last(&properties, name).map(filter::value),
                })
            })
    }

    /// Drops the properties that `output_properties` does not name.
    fn reduced(&self, profile: Arc<[u8]>) -> Arc<[u8]> {
        let Some(names) = &self.output_properties else {
            return profile;
        };
        let object = |members: Vec<String>| format!("{{{}}}", members.join(","));
        let written = |key: &str, value: &str| format!("{key}:{value}");
        let text = String::from_utf8_lossy(&profile);
        let Ok(record) = json::members(&text) else {
            return profile;
        };
        let members = record.iter().map(|member| {
            let properties = json::members(member.value);
            let (true, Ok(properties)) = (member.is("$properties"), properties) else {
                return written(member.raw_key, member.value);
            };
            let named = |property: &&Member<'_>| names.iter().any(|name| property.is(name));
            let kept = properties.iter().filter(named);
            let kept = kept.map(|property| written(property.raw_key, property.value));
            written(member.raw_key, &object(kept.collect()))
        });
        object(members.collect()).into_bytes().into()
    }
}

fn nobody(cohort: i64, index: usize) -> Arc<[u8]> {
    let id = format!("cohort-{cohort}-member-{index}");
    let text = format!(r#"{{"$distinct_id":"{id}","$properties":{{}}}}"#);
    text.into_bytes().into()
}

fn cohort(text: &str) -> Result<i64, String> {
    let error = || "filter_by_cohort must be an object such as {\"id\":12345}".to_owned();
    let object: Value = serde_json::from_str(text).map_err(|_| error())?;
    object.get("id").and_then(Value::as_i64).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(query: &EngageQuery, data: &Data) -> Vec<String> {
        let texts = query.select(data, 2).unwrap().into_iter();
        let parsed = texts.map(|text| serde_json::from_slice::<Value>(&text).unwrap());
        parsed
            .map(|value| value["$distinct_id"].to_string())
            .collect()
    }

    fn ten_profiles() -> Data {
        let profile =
            |n| format!(r#"{{"$distinct_id":{n},"$properties":{{"n":{n},"$last_seen":"x"}}}}"#);
        Data::from_lines([], (0..10).map(profile)).unwrap()
    }

    #[test]
    fn cohorts_are_every_seventh_profile_and_members_without_one() {
        let data = ten_profiles();
        let mut query = EngageQuery {
            cohort: Some(9),
            include_all_users: Some(false),
            ..EngageQuery::default()
        };
        assert_eq!(ids(&query, &data), ["2", "9"]);
        query.include_all_users = None;
        assert_eq!(ids(&query, &data).len(), 4);
    }

    #[test]
    fn profiles_are_selected_by_id_and_expression() {
        let data = ten_profiles();
        let query = EngageQuery {
            distinct_ids: Some(vec!["3".to_owned(), "x".to_owned(), "1".to_owned()]),
            ..EngageQuery::default()
        };
        assert_eq!(ids(&query, &data), ["1", "3"]);
        let query = EngageQuery {
            where_: Some(r#"user["n"] >= 8"#.to_owned()),
            ..EngageQuery::default()
        };
        assert_eq!(ids(&query, &data), ["8", "9"]);
    }

    #[test]
    fn output_properties_drop_the_others() {
        let query = EngageQuery {
            output_properties: Some(vec!["n".to_owned()]),
            distinct_id: Some("5".to_owned()),
            ..EngageQuery::default()
        };
        let found = query.select(&ten_profiles(), 0).unwrap();
        assert_eq!(&*found[0], br#"{"$distinct_id":5,"$properties":{"n":5}}"#);
    }
}
