//! `check --online`: what as few requests as can be tell of a project.

use std::time::Duration;

use jiff::tz::TimeZone;
use mixflow_core::config::Seconds;
use mixflow_core::context::RunContext;
use mixflow_core::error::{Error, Result};
use mixflow_core::source::{Finding, Probe};

use crate::http::endpoint::Region;
use crate::http::question::Reply;
use crate::project::Project;
use crate::stream::Stream;

/// More requests are not made.
const MOST: usize = 3;

/// How long a request may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an answer may take to begin, and to pause: a day with `limit=1` is
/// no three years.
const ANSWER: Duration = Duration::from_secs(120);

/// Asks a project's server something small.
///
/// Fails as a run would.
pub(crate) fn probe(project: &Project, stream: &dyn Stream, cx: &RunContext) -> Result<Probe> {
    let credentials = project.credentials(cx)?;
    let unit = cx.unit();
    let mut retry = project.retry.clone();
    retry.max_wait = Seconds(retry.max_wait.0.min(PATIENCE));
    retry.first_byte_timeout = Seconds(retry.first_byte_timeout.0.min(ANSWER));
    retry.idle_timeout = Seconds(retry.idle_timeout.0.min(ANSWER));
    let home = &project.endpoint;
    let questions = stream.questions();
    let asked = explore(questions.len(), &home.elsewhere(), |region, n| {
        let endpoint = region.map_or_else(|| home.clone(), |region| home.moved_to(region));
        let client = project.client(endpoint, &credentials, retry.clone(), cx);
        match client {
            Ok(client) => client.ask(&questions[n].request, &questions[n].label, &unit),
            Err(error) => Reply::Failed(error),
        }
    });
    let answered = asked?;
    let zone = questions[0].day.map(|day| {
        let zone = home.zone.clone().unwrap_or(TimeZone::UTC);
        let name = zone.iana_name().unwrap_or("UTC");
        let text = match answered {
            0 => format!("not known; it is {day} there, as it is in {name}"),
            _ => {
                format!("behind {name}: it is not {day} there yet; set `timezone` to the project's")
            }
        };
        Finding {
            about: "zone",
            text,
        }
    });
    Ok(Probe {
        findings: found(project).into_iter().chain(zone).collect(),
    })
}

/// Says what an answer tells, whatever it is about.
fn found(project: &Project) -> Vec<Finding> {
    let endpoint = &project.endpoint;
    let quota = project.quota();
    let what = endpoint.what();
    let region = match endpoint.region() {
        Some(region) => format!("{} answers", region.as_str()),
        None => format!("`base_url` is set: {} answers", endpoint.base()),
    };
    let (used, hourly) = (quota.used(), quota.per_hour());
    [
        ("credentials", format!("ok, they may read {what}")),
        ("region", region),
        (
            "quota",
            format!("{used} of {hourly} requests of the last hour are used, as far as this machine knows"),
        ),
    ]
    .map(|(about, text)| Finding { about, text })
    .into()
}

/// Asks the questions at home, one after the other as long as the day of the
/// one before has not come, and returns which was answered.
///
/// When access is refused, the other regions are asked the same: one that does
/// not refuse is named in the error.
fn explore(
    questions: usize,
    elsewhere: &[Region],
    mut ask: impl FnMut(Option<Region>, usize) -> Reply,
) -> Result<usize> {
    let mut n = 0;
    let refused = loop {
        match ask(None, n) {
            Reply::Answered => return Ok(n),
            Reply::NotYet(_) if n + 1 < questions => n += 1,
            Reply::NotYet(error) | Reply::Failed(error) => return Err(error),
            Reply::NoAccess(error) => break error,
        }
    };
    for region in elsewhere.iter().take(MOST - 1 - n) {
        if matches!(ask(Some(*region), n), Reply::Answered | Reply::NotYet(_)) {
            return Err(lives_in(refused, *region));
        }
    }
    Err(refused)
}

fn lives_in(refused: Error, region: Region) -> Error {
    let name = region.as_str();
    refused.hint(format!(
        "set `region = \"{name}\"`: there the credentials are right"
    ))
}

#[cfg(test)]
mod tests {
    use mixflow_core::error::ErrorKind;

    use super::*;

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "no")
    }

    /// Asks with these replies; returns what came of it, and who was asked what.
    fn explored(
        replies: Vec<Reply>,
        elsewhere: &[Region],
    ) -> (Result<usize>, Vec<(Option<Region>, usize)>) {
        let mut replies = replies.into_iter();
        let mut asked = Vec::new();
        let found = explore(2, elsewhere, |region, n| {
            asked.push((region, n));
            replies.next().expect("no more than three are asked")
        });
        (found, asked)
    }

    const OTHERS: [Region; 2] = [Region::Eu, Region::In];

    fn no_access() -> Reply {
        Reply::NoAccess(error(ErrorKind::Auth))
    }

    fn not_yet() -> Reply {
        Reply::NotYet(error(ErrorKind::Request))
    }

    #[test]
    fn one_answer_is_enough() {
        let (found, asked) = explored(vec![Reply::Answered], &OTHERS);
        assert_eq!(found.ok(), Some(0));
        assert_eq!(asked, [(None, 0)]);
    }

    #[test]
    fn a_day_that_has_not_come_makes_another_question() {
        let (found, asked) = explored(vec![not_yet(), Reply::Answered], &OTHERS);
        assert_eq!(found.ok(), Some(1));
        assert_eq!(asked, [(None, 0), (None, 1)]);
        let (found, _) = explored(vec![not_yet(), not_yet()], &OTHERS);
        assert!(found.is_err());
    }

    #[test]
    fn the_region_that_does_not_refuse_is_named() {
        let (found, asked) = explored(vec![no_access(), no_access(), Reply::Answered], &OTHERS);
        let error = found.expect_err("home refuses");
        assert_eq!(error.kind(), ErrorKind::Auth);
        let hint = "set `region = \"in\"`: there the credentials are right";
        assert_eq!(error.hint_text(), Some(hint));
        assert_eq!(
            asked,
            [(None, 0), (Some(Region::Eu), 0), (Some(Region::In), 0)]
        );
    }

    #[test]
    fn three_requests_are_the_most() {
        let (found, asked) = explored(vec![not_yet(), no_access(), no_access()], &OTHERS);
        assert!(found.is_err_and(|error| error.hint_text().is_none()));
        assert_eq!(asked.len(), 3);
    }

    #[test]
    fn nobody_else_is_asked_where_there_is_nobody_else_or_no_refusal() {
        let (found, asked) = explored(vec![no_access()], &[]);
        assert!(found.is_err());
        assert_eq!(asked.len(), 1);
        for kind in [ErrorKind::Network, ErrorKind::Quota, ErrorKind::Auth] {
            // A plan that lacks the endpoint lacks it everywhere.
            let (found, asked) = explored(vec![Reply::Failed(error(kind))], &OTHERS);
            assert!(found.is_err_and(|error| error.kind() == kind));
            assert_eq!(asked.len(), 1);
        }
    }
}
