//! The engage endpoint: sessions and pages of profiles.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use super::data::Data;
use super::engage_query::EngageQuery;
use super::fault::{Action, CleanCut};
use super::params::Params;

/// The number of sessions that are remembered.
const SESSIONS: usize = 256;

const UNCACHED: &str = "request for page in uncached query for params";

/// The pages that name the total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TotalOn {
    /// All pages.
    EveryPage,
    /// The page that begins a session.
    #[default]
    FirstPage,
    /// No page.
    Never,
}

/// How pages look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paging {
    pub(super) page_size: usize,
    pub(super) total_on: TotalOn,
    pub(super) lie_about_total: Option<u64>,
    pub(super) results_first: bool,
    /// Members of each cohort without a profile.
    pub(super) without_profile: usize,
}

/// A snapshot that pages are cut from.
#[derive(Debug)]
struct Session {
    id: String,
    filters: Vec<(String, String)>,
    needs_timestamp: bool,
    page_size: usize,
    profiles: Vec<Arc<[u8]>>,
}

#[derive(Debug, Default)]
pub(super) struct Sessions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    made: u64,
    open: VecDeque<Arc<Session>>,
}

/// A page as text, with the number of its profiles.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) text: Vec<u8>,
    pub(super) rows: usize,
}

impl Sessions {
    /// Forgets every session.
    pub(super) fn clear(&self) {
        self.lock().open.clear();
    }

    /// Answers a request, or says why it is a bad one.
    pub(super) fn page(
        &self,
        data: &Data,
        params: &Params<'_>,
        paging: &Paging,
        fault: Option<&Action>,
    ) -> Result<Page, String> {
        let number = page_number(params)?;
        let query = EngageQuery::from_params(params)?;
        let session = match params.get("session_id") {
            Some(id) => {
                if fault == Some(&Action::ExpireSession) {
                    self.lock().open.retain(|session| session.id != id);
                }
                self.resume(id, params)?
            }
            None if number > 0 => return Err("page > 0 requires a session_id".to_owned()),
            None => {
                let profiles = query.select(data, paging.without_profile)?;
                self.begin(params, &query, profiles, page_size(params, paging)?)
            }
        };
        if number > 0 && session.needs_timestamp {
            return Err(UNCACHED.to_owned());
        }
        Ok(render(&session, number, paging, fault))
    }

    fn begin(
        &self,
        params: &Params<'_>,
        query: &EngageQuery,
        profiles: Vec<Arc<[u8]>>,
        page_size: usize,
    ) -> Arc<Session> {
        let mut state = self.lock();
        state.made += 1;
        let session = Arc::new(Session {
            id: format!("{}-SIMULA", 1_700_000_000 + state.made),
            filters: filters(params),
            needs_timestamp: query.behaviors.is_some() && query.as_of_timestamp.is_none(),
            page_size,
            profiles,
        });
        state.open.push_back(Arc::clone(&session));
        if state.open.len() > SESSIONS {
            state.open.pop_front();
        }
        session
    }

    fn resume(&self, id: &str, params: &Params<'_>) -> Result<Arc<Session>, String> {
        let state = self.lock();
        let found = state.open.iter().find(|session| session.id == id);
        let session = found.ok_or(UNCACHED)?;
        if session.filters != filters(params) {
            return Err(format!("the filters differ from those of session {id}"));
        }
        Ok(Arc::clone(session))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn page_number(params: &Params<'_>) -> Result<usize, String> {
    let number = params.get("page").map_or(Ok(0), str::parse);
    number.map_err(|_| "page must be a number from 0".to_owned())
}

/// Returns how many profiles a session's pages have: as many as were asked
/// for, but never more than the server's own number.
fn page_size(params: &Params<'_>, paging: &Paging) -> Result<usize, String> {
    let Some(asked) = params.get("page_size") else {
        return Ok(paging.page_size);
    };
    match asked.parse::<usize>() {
        Ok(asked @ 1..) => Ok(asked.min(paging.page_size)),
        _ => Err("page_size must be a number from 1".to_owned()),
    }
}

/// Returns what has to be the same on every page of a session, sorted.
fn filters(params: &Params<'_>) -> Vec<(String, String)> {
    const FREE: [&str; 5] = [
        "page",
        "session_id",
        "project_id",
        "workspace_id",
        "page_size",
    ];
    let all = params.query.iter().chain(params.form);
    let fixed = all.filter(|(key, value)| !FREE.contains(&key.as_str()) && !value.is_empty());
    let mut fixed: Vec<_> = fixed.cloned().collect();
    fixed.sort();
    fixed
}

fn render(session: &Session, number: usize, paging: &Paging, fault: Option<&Action>) -> Page {
    if let Some(Action::ErrorIn200 { message }) = fault {
        let text = json!({"status": "error", "error": message}).to_string();
        return Page {
            text: text.into_bytes(),
            rows: 0,
        };
    }
    // Which page comes, and which it passes for.
    let (content, number) = match fault {
        Some(Action::OtherPage { content, admitted }) => {
            let content = usize::try_from(*content).unwrap_or(usize::MAX);
            (content, if *admitted { content } else { number })
        }
        _ => (number, number),
    };
    let all = &session.profiles;
    let start = content.saturating_mul(session.page_size).min(all.len());
    let end = start.saturating_add(session.page_size).min(all.len());
    let mut profiles: Vec<&[u8]> = all[start..end].iter().map(|profile| &**profile).collect();
    match fault {
        Some(Action::EmptyPage | Action::NullResults) => profiles.clear(),
        Some(Action::DifferentOnRetry) => profiles.reverse(),
        _ => {}
    }
    let results = match fault {
        Some(Action::NullResults) => b"null".to_vec(),
        _ => [b"[".as_slice(), &profiles.join(&b", "[..]), b"]"].concat(),
    };
    let mut members = vec![
        ("page", number.to_string().into_bytes()),
        ("page_size", session.page_size.to_string().into_bytes()),
        ("session_id", json!(session.id).to_string().into_bytes()),
        ("status", b"\"ok\"".to_vec()),
    ];
    if fault == Some(&Action::NoPageSize) {
        members.retain(|(key, _)| *key != "page_size");
    }
    let has_total = match paging.total_on {
        TotalOn::EveryPage => true,
        TotalOn::FirstPage => number == 0,
        TotalOn::Never => false,
    };
    if has_total {
        let total = paging.lie_about_total.unwrap_or(all.len() as u64);
        members.push(("total", total.to_string().into_bytes()));
    }
    let place = if paging.results_first {
        0
    } else {
        members.len()
    };
    members.insert(place, ("results", results));
    let mut text = b"{".to_vec();
    for (index, (key, value)) in members.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        text.extend_from_slice(format!("{comma}\"{key}\": ").as_bytes());
        text.extend_from_slice(value);
    }
    text.push(b'}');
    if fault == Some(&Action::CutClean(CleanCut::Line)) {
        text.truncate(text.len() / 2);
    }
    Page {
        text,
        rows: profiles.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const PAGING: Paging = Paging {
        page_size: 2,
        total_on: TotalOn::FirstPage,
        lie_about_total: None,
        results_first: false,
        without_profile: 0,
    };

    fn data() -> Data {
        let profile = |n| format!(r#"{{"$distinct_id":{n},"$properties":{{}}}}"#);
        Data::from_lines([], (0..5).map(profile)).unwrap()
    }

    fn ask(
        sessions: &Sessions,
        form: &[(&str, &str)],
        paging: &Paging,
        fault: Option<&Action>,
    ) -> Result<Value, String> {
        let form: Vec<_> = form
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let params = Params {
            query: &[],
            form: &form,
        };
        let page = sessions.page(&data(), &params, paging, fault)?;
        let value: Value = serde_json::from_slice(&page.text).unwrap();
        assert_eq!(value["results"].as_array().map_or(0, Vec::len), page.rows);
        Ok(value)
    }

    #[test]
    fn a_session_has_pages_until_a_short_one() {
        let sessions = Sessions::default();
        let first = ask(&sessions, &[], &PAGING, None).unwrap();
        assert_eq!(first["total"], 5);
        assert_eq!(first["page_size"], 2);
        let id = first["session_id"].as_str().unwrap();
        let counts = ["1", "2", "3"].map(|page| {
            let page = ask(
                &sessions,
                &[("page", page), ("session_id", id)],
                &PAGING,
                None,
            );
            let page = page.unwrap();
            assert_eq!(page.get("total"), None);
            page["results"].as_array().unwrap().len()
        });
        assert_eq!(counts, [2, 1, 0]);
    }

    #[test]
    fn pages_are_as_short_as_asked_for_and_never_longer_than_the_servers_own() {
        let sessions = Sessions::default();
        let paging = Paging {
            page_size: 4,
            ..PAGING
        };
        for (asked, given) in [("3", 3), ("4", 4), ("1000", 4)] {
            let first = ask(&sessions, &[("page_size", asked)], &paging, None).unwrap();
            assert_eq!(first["page_size"], given);
            // The session remembers it.
            let id = ("session_id", first["session_id"].as_str().unwrap());
            let second = ask(&sessions, &[("page", "1"), id], &paging, None).unwrap();
            assert_eq!(second["page_size"], given);
            assert_eq!(second["results"].as_array().unwrap().len(), 5 - given);
        }
        for asked in ["0", "-1", "many"] {
            assert!(ask(&sessions, &[("page_size", asked)], &PAGING, None).is_err());
        }
    }

    #[test]
    fn a_session_needs_the_same_filters() {
        let sessions = Sessions::default();
        let filter = ("where", r#"not defined(properties["x"])"#);
        let first = ask(&sessions, &[filter], &PAGING, None).unwrap();
        let id = ("session_id", first["session_id"].as_str().unwrap());
        assert!(ask(&sessions, &[("page", "1"), id, filter], &PAGING, None).is_ok());
        let error = ask(&sessions, &[("page", "1"), id], &PAGING, None).unwrap_err();
        assert!(error.starts_with("the filters differ"), "{error}");
    }

    #[test]
    fn unknown_and_expired_sessions_are_errors() {
        let sessions = Sessions::default();
        let unknown = [("page", "1"), ("session_id", "x")];
        assert_eq!(
            ask(&sessions, &unknown, &PAGING, None).unwrap_err(),
            UNCACHED
        );
        let first = ask(&sessions, &[], &PAGING, None).unwrap();
        let next = [
            ("page", "1"),
            ("session_id", first["session_id"].as_str().unwrap()),
        ];
        let expired = ask(&sessions, &next, &PAGING, Some(&Action::ExpireSession));
        assert_eq!(expired.unwrap_err(), UNCACHED);
        assert_eq!(ask(&sessions, &next, &PAGING, None).unwrap_err(), UNCACHED);
        assert!(ask(&sessions, &[("page", "1")], &PAGING, None).is_err());
    }

    #[test]
    fn behaviors_without_a_timestamp_have_one_page() {
        let sessions = Sessions::default();
        let behaviors = ("behaviors", "[{}]");
        let first = ask(&sessions, &[behaviors], &PAGING, None).unwrap();
        let id = ("session_id", first["session_id"].as_str().unwrap());
        let next = ask(&sessions, &[("page", "1"), id, behaviors], &PAGING, None);
        assert_eq!(next.unwrap_err(), UNCACHED);
    }

    #[test]
    fn exclusive_filters_are_refused() {
        let sessions = Sessions::default();
        for form in [
            [("distinct_id", "1"), ("distinct_ids", "[\"2\"]")],
            [("behaviors", "[]"), ("filter_by_cohort", "{\"id\":1}")],
            [("page", "-1"), ("session_id", "x")],
            [("data_group_id", "99999999999999999999"), ("a", "b")],
        ] {
            assert!(ask(&sessions, &form, &PAGING, None).is_err(), "{form:?}");
        }
    }

    #[test]
    fn totals_can_be_missing_or_wrong() {
        let sessions = Sessions::default();
        let paging = Paging {
            total_on: TotalOn::Never,
            results_first: true,
            ..PAGING
        };
        let page = ask(&sessions, &[], &paging, None).unwrap();
        assert_eq!(page.get("total"), None);
        let paging = Paging {
            lie_about_total: Some(77),
            ..PAGING
        };
        assert_eq!(ask(&sessions, &[], &paging, None).unwrap()["total"], 77);
    }

    #[test]
    fn faults_change_the_page() {
        let sessions = Sessions::default();
        let with = |fault| ask(&sessions, &[], &PAGING, Some(&fault)).unwrap();
        let message = "oh".to_owned();
        let expected = json!({"status": "error", "error": "oh"});
        assert_eq!(with(Action::ErrorIn200 { message }), expected);
        assert_eq!(with(Action::NullResults)["results"], Value::Null);
        assert_eq!(with(Action::EmptyPage)["results"], json!([]));
        assert_eq!(with(Action::NoPageSize).get("page_size"), None);
        let other = |admitted| Action::OtherPage {
            content: 1,
            admitted,
        };
        for (admitted, number) in [(true, 1), (false, 0)] {
            let page = with(other(admitted));
            assert_eq!(page["page"], number);
            assert_eq!(page["results"][0]["$distinct_id"], 2);
        }
        assert_eq!(
            with(Action::DifferentOnRetry)["results"][0]["$distinct_id"],
            1
        );
    }
}
