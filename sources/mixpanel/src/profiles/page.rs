//! One answer of the engage endpoint.

use std::ops::Range;

use mixflow_core::json::unescape;

use mixflow_core::json::scan::{Fault, Kind, Scanner, Value};

/// What stands around the profiles of a page, and where these stand.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Which page this is.
    pub(super) number: Option<u64>,
    pub(super) page_size: Option<u64>,
    pub(super) total: Option<u64>,
    pub(super) session_id: Option<String>,
    /// The bytes of each profile; `None` if there is no list of them.
    pub(super) results: Option<Vec<Range<usize>>>,
    /// The server's word for what went wrong.
    pub(super) error: Option<String>,
}

impl Page {
    /// Reads a page's frame. The profiles are found, not read.
    ///
    /// An error says that the text is not a page.
    pub(super) fn parse(text: &str) -> Result<Page, String> {
        Page::scan(text).map_err(|fault| {
            format!(
                "the answer is not JSON at byte {}: {}",
                fault.at, fault.reason
            )
        })
    }

    fn scan(text: &str) -> Result<Page, Fault> {
        let mut page = Page::default();
        let mut status = None;
        let mut scanner = Scanner::new(text);
        scanner.enter_object()?;
        let mut first = true;
        while let Some(key) = scanner.next_key(&mut first)? {
            if key.is(text, "results") && scanner.at_array() {
                page.results = Some(elements(&mut scanner)?);
                continue;
            }
            let value = scanner.value()?;
            match () {
                () if key.is(text, "results") => page.results = None,
                () if key.is(text, "page") => page.number = number(text, &value),
                () if key.is(text, "page_size") => {
                    page.page_size = number(text, &value).filter(|size| *size > 0);
                }
                () if key.is(text, "total") => page.total = number(text, &value),
                () if key.is(text, "session_id") => page.session_id = word(text, &value),
                () if key.is(text, "status") => status = word(text, &value),
                () if key.is(text, "error") => page.error = word(text, &value),
                () => {}
            }
        }
        scanner.end()?;
        if page.error.is_none()
            && let Some(status) = status
            && status != "ok"
        {
            page.error = Some(format!("status `{status}`"));
        }
        Ok(page)
    }
}

/// What the beginning of page 0 says, from which the others can be asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) session_id: String,
    pub(super) total: u64,
    pub(super) page_size: u64,
}

impl Opening {
    /// Reads what stands before the profiles; `None` if that is not all there,
    /// or says that something is wrong.
    pub(super) fn of(beginning: &str) -> Option<Opening> {
        let (mut session_id, mut total, mut page_size) = (None, None, None);
        let mut scanner = Scanner::new(beginning);
        scanner.enter_object().ok()?;
        let mut first = true;
        while let Some(key) = scanner.next_key(&mut first).ok()? {
            if key.is(beginning, "results") {
                return Some(Opening {
                    session_id: session_id?,
                    total: total?,
                    page_size: page_size.filter(|size| *size > 0)?,
                });
            }
            let value = scanner.value().ok()?;
            match () {
                () if key.is(beginning, "page_size") => page_size = number(beginning, &value),
                () if key.is(beginning, "total") => total = number(beginning, &value),
                () if key.is(beginning, "session_id") => session_id = word(beginning, &value),
                () if key.is(beginning, "error") => return None,
                () => {}
            }
        }
        None
    }
}

impl Page {
    /// Returns the people of the page: hashes of their ids as they stand in
    /// `text`, from which the page was read. Profiles without one are left out.
    pub(super) fn people(&self, text: &str) -> Vec<u64> {
        let spans = self.results.iter().flatten();
        spans
            .filter_map(|span| person(&text[span.clone()]))
            .collect()
    }
}

fn person(profile: &str) -> Option<u64> {
    let mut scanner = Scanner::new(profile);
    scanner.enter_object().ok()?;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first).ok()? {
        let value = scanner.value().ok()?;
        if key.is(profile, "$distinct_id") {
            return Some(xxhash_rust::xxh3::xxh3_64(profile[value.span].as_bytes()));
        }
    }
    None
}

fn elements(scanner: &mut Scanner<'_>) -> Result<Vec<Range<usize>>, Fault> {
    let mut spans = Vec::with_capacity(1000);
    scanner.enter_array()?;
    let mut first = true;
    while scanner.next_element(&mut first)? {
        spans.push(scanner.value()?.span);
    }
    Ok(spans)
}

/// Reads a count, which some servers quote.
fn number(text: &str, value: &Value) -> Option<u64> {
    match value.kind {
        Kind::Number => text[value.span.clone()].parse().ok(),
        Kind::String { .. } => word(text, value)?.parse().ok(),
        _ => None,
    }
}

/// Reads a text; a number keeps its digits, null and the empty text are none.
fn word(text: &str, value: &Value) -> Option<String> {
    let text = &text[value.span.clone()];
    match value.kind {
        Kind::Null => None,
        Kind::String { .. } => {
            let text = unescape(&text[1..text.len() - 1]);
            (!text.is_empty()).then(|| text.into_owned())
        }
        _ => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_its_profiles_in_place() {
        let text = r#"{"page":0,"page_size":1000,"session_id":"s\u002d1","status":"ok","total":2,
            "results":[{"$distinct_id":4}, {"$distinct_id":"b","$properties":{"results":[1]}}]}"#;
        let page = Page::parse(text).expect("it is a page");
        assert_eq!((page.number, page.page_size), (Some(0), Some(1000)));
        assert_eq!(page.total, Some(2));
        assert_eq!(page.session_id.as_deref(), Some("s-1"));
        assert_eq!(page.error, None);
        let results: Vec<&str> = page
            .results
            .expect("a list")
            .into_iter()
            .map(|span| &text[span])
            .collect();
        assert_eq!(
            results,
            [
                r#"{"$distinct_id":4}"#,
                r#"{"$distinct_id":"b","$properties":{"results":[1]}}"#
            ]
        );
    }

    #[test]
    fn an_opening_is_all_that_stands_before_the_profiles() {
        let text = r#"{"page":0,"total":4000,"page_size":1000,"session_id":"s","results":[{"a":1}"#;
        let opening = Opening {
            session_id: "s".to_owned(),
            total: 4000,
            page_size: 1000,
        };
        assert_eq!(Opening::of(text), Some(opening));
        let end = text.find("\"results\":").expect("it is there") + "\"results\":".len();
        for cut in 0..end {
            assert_eq!(Opening::of(&text[..cut]), None, "{}", &text[..cut]);
        }
        for other in [
            r#"{"results":[],"total":1,"page_size":1,"session_id":"s"}"#,
            r#"{"total":1,"page_size":0,"session_id":"s","results":[]}"#,
            r#"{"total":1,"page_size":1,"session_id":"","results":[]}"#,
            r#"{"error":"x","total":1,"page_size":1,"session_id":"s","results":[]}"#,
            r#"{"total":1,"page_size":1,"session_id":"s"}"#,
        ] {
            assert_eq!(Opening::of(other), None, "{other}");
        }
    }

    #[test]
    fn people_are_told_apart_by_their_ids() {
        let text = r#"{"page_size":0,"results":[{"$distinct_id":4},{"$distinct_id":"4"},
            {"$properties":{"$distinct_id":"x"},"$distinct_id":4},17,{"$properties":{}}]}"#;
        let page = Page::parse(text).expect("it is a page");
        assert_eq!(page.page_size, None);
        let people = page.people(text);
        assert_eq!(people.len(), 3);
        assert_eq!(people[0], people[2]);
        assert_ne!(people[0], people[1]);
    }

    #[test]
    fn what_a_page_lacks_is_none() {
        let page = Page::parse(r#"{"results":null,"total":null,"session_id":""}"#).expect("JSON");
        assert!(page.results.is_none() && page.total.is_none() && page.session_id.is_none());
        let page = Page::parse(r#"{"status":"error","error":"boom"}"#).expect("JSON");
        assert_eq!(page.error.as_deref(), Some("boom"));
        let page = Page::parse(r#"{"status":"error"}"#).expect("JSON");
        assert_eq!(page.error.as_deref(), Some("status `error`"));
        assert!(Page::parse("{\"results\":[{}").is_err());
        assert!(Page::parse("<html>").is_err());
    }
}
