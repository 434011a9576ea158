//! Which events an export asks for.

use std::borrow::Cow;

use jiff::civil::Date;

use super::data::Data;
use super::filter::{self, Filter};
use super::json;
use super::params::{self, Params};

/// The parameters of an export request.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportQuery {
    /// The first day.
    pub from: Date,
    /// The last day, inclusive.
    pub to: Date,
    /// Names of events; empty means all.
    pub events: Vec<String>,
    /// An expression over the properties.
    pub where_: Option<String>,
    /// The largest number of rows.
    pub limit: Option<usize>,
    /// Whether `time` is sent in milliseconds.
    pub time_in_ms: bool,
}

impl ExportQuery {
    /// Asks for all events of the days from `from` to `to`.
    pub fn new(from: Date, to: Date) -> Self {
        Self {
            from,
            to,
            events: Vec::new(),
            where_: None,
            limit: None,
            time_in_ms: false,
        }
    }

    pub(super) fn from_params(params: &Params<'_>) -> Result<Self, String> {
        Ok(Self {
            from: strict_date("from_date", params.required("from_date")?)?,
            to: strict_date("to_date", params.required("to_date")?)?,
            events: params
                .get("event")
                .map_or(Ok(Vec::new()), |text| params::names("event", text))?,
            where_: params.get("where").map(str::to_owned),
            limit: params.get("limit").map(row_limit).transpose()?,
            time_in_ms: params.flag("time_in_ms")?.unwrap_or(false),
        })
    }

    /// Tells whether whole days are sent as they are.
    pub(super) fn is_plain(&self) -> bool {
        self.events.is_empty() && self.where_.is_none() && self.limit.is_none() && !self.time_in_ms
    }

    /// Returns the lines of the answer, in order.
    pub(super) fn select<'d>(&self, data: &'d Data) -> Result<Vec<Cow<'d, [u8]>>, String> {
        if self.to < self.from {
            return Err("to_date cannot be earlier than from_date".to_owned());
        }
        let expression = self.where_.as_deref().map(Filter::parse).transpose()?;
        let days = data.days.range(self.from..=self.to);
        let lines = days.flat_map(|(_, day)| day.lines());
        let wanted = lines.filter(|line| self.wants(expression.as_ref(), line));
        let sent = wanted.take(self.limit.unwrap_or(usize::MAX));
        Ok(sent
            .map(|line| {
                if self.time_in_ms {
                    in_milliseconds(line).map_or(Cow::Borrowed(line), Cow::Owned)
                } else {
                    Cow::Borrowed(line)
                }
            })
            .collect())
    }

    fn wants(&self, expression: Option<&Filter>, line: &[u8]) -> bool {
        if self.events.is_empty() && expression.is_none() {
            return true;
        }
        let record = std::str::from_utf8(line).ok().map(json::members);
        let Some(Ok(record)) = record else {
            return false;
        };
        let name = json::last(&record, "event").and_then(json::string);
        let named = || name.is_some_and(|name| self.events.contains(&name));
        (self.events.is_empty() || named())
            && expression.is_none_or(|expression| {
                let properties = json::last(&record, "properties").map(json::members);
                let Some(Ok(properties)) = properties else {
                    return false;
                };
                expression.matches(&|name| json::last(&properties, name).map(filter::value))
            })
    }
}

/// Rewrites the number in `time` and leaves every other byte.
fn in_milliseconds(line: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(line).ok()?;
    let record = json::members(text).ok()?;
    let properties = json::members(json::last(&record, "properties")?).ok()?;
    let time = json::last(&properties, "time")?;
    let millis = json::micros(time, false)?.div_euclid(1_000);
    let quote = if time.starts_with('"') { "\"" } else { "" };
    let place = json::range_in(text, time);
    let (before, after) = (&text[..place.start], &text[place.end..]);
    Some(format!("{before}{quote}{millis}{quote}{after}").into_bytes())
}

fn strict_date(name: &str, text: &str) -> Result<Date, String> {
    let shaped = text.bytes().enumerate().all(|(index, byte)| match index {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let date = (text.len() == 10 && shaped).then(|| text.parse().ok());
    date.flatten()
        .ok_or_else(|| format!("{name} must be in the format YYYY-MM-DD"))
}

fn row_limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit @ 1..=100_000) => Ok(limit),
        _ => Err("limit must be between 1 and 100000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    const DAY: Date = date(2024, 1, 1);

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn export(extra: &[(&str, &str)]) -> Result<ExportQuery, String> {
        let mut query = pairs(&[("from_date", "2024-01-01"), ("to_date", "2024-01-02")]);
        query.extend(pairs(extra));
        ExportQuery::from_params(&Params {
            query: &query,
            form: &[],
        })
    }

    #[test]
    fn export_parameters_are_read() {
        let query = export(&[
            ("event", r#"["a","b"]"#),
            ("where", "1 == 1"),
            ("limit", "100000"),
            ("time_in_ms", "true"),
        ]);
        let expected = ExportQuery {
            events: vec!["a".to_owned(), "b".to_owned()],
            where_: Some("1 == 1".to_owned()),
            limit: Some(100_000),
            time_in_ms: true,
            ..ExportQuery::new(DAY, date(2024, 1, 2))
        };
        assert_eq!(query, Ok(expected));
    }

    #[test]
    fn wrong_export_parameters_are_refused() {
        for extra in [
            ("limit", "0"),
            ("limit", "100001"),
            ("event", "a"),
            ("event", "[true]"),
            ("time_in_ms", "maybe"),
        ] {
            assert!(export(&[extra]).is_err(), "{extra:?}");
        }
        for bad in [
            "2024-1-01",
            "2024-01-32",
            "20240101",
            "today",
            "2024-01-01T00:00:00",
        ] {
            assert!(strict_date("from_date", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn milliseconds_replace_only_the_number() {
        for (seconds, millis) in [
            ("1704067200", "1704067200000"),
            ("1704067200.25", "1704067200250"),
            ("\"1704067200\"", "\"1704067200000\""),
        ] {
            let line =
                |time| format!(r#"{{"event":"time", "properties":{{"a":1.10,"time": {time} }}}}"#);
            let sent = in_milliseconds(line(seconds).as_bytes()).unwrap();
            assert_eq!(String::from_utf8(sent).unwrap(), line(millis));
        }
    }

    #[test]
    fn events_are_selected_by_name_expression_and_limit() {
        let line =
            |name, n| format!(r#"{{"event":"{name}","properties":{{"time":1704067200,"n":{n}}}}}"#);
        let mut data = Data::from_lines([line("a", 1), line("b", 2), line("a", 3)], []).unwrap();
        data.add_raw_line(DAY, "{broken");
        let count = |query: ExportQuery| query.select(&data).unwrap().len();
        let all = ExportQuery::new(DAY, DAY);
        assert_eq!(count(all.clone()), 4);
        let events = vec!["a".to_owned()];
        assert_eq!(
            count(ExportQuery {
                events: events.clone(),
                ..all.clone()
            }),
            2
        );
        let where_ = Some(r#"properties["n"] > 1"#.to_owned());
        assert_eq!(
            count(ExportQuery {
                where_: where_.clone(),
                ..all.clone()
            }),
            2
        );
        assert_eq!(
            count(ExportQuery {
                where_,
                events,
                ..all.clone()
            }),
            1
        );
        assert_eq!(
            count(ExportQuery {
                limit: Some(3),
                ..all
            }),
            3
        );
    }
}
