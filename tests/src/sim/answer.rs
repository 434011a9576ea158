//! From a request to the bytes of its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use super::auth::{Authorization, Caller};
use super::export::{self, Body};
use super::export_query::ExportQuery;
use super::fault::{Action, CleanCut, Unframed};
use super::http::{Answer, Connection, Framing, Request};
use super::injector::{Plan, Target};
use super::limits::{Gate, rate_limit, too_many};
use super::log::{Endpoint, LoggedRequest};
use super::params::Params;
use super::server::Shared;

/// Answers the requests of a connection until one side closes it.
///
/// A broken connection ends it quietly: the client under test may do that.
pub(super) fn serve(shared: &Shared, mut connection: Connection) {
    while let Ok(Some(request)) = connection.read_request() {
        let keeps_alive = request.keep_alive;
        let went_on = answer(shared, &mut connection, request);
        if !keeps_alive || !went_on || shared.stop.is_stopped() {
            break;
        }
    }
}

/// Answers one request and tells whether the connection can go on.
fn answer(shared: &Shared, connection: &mut Connection, request: Request) -> bool {
    let at = Instant::now();
    let endpoint = Endpoint::of(&request.path);
    let gate = shared.gate(endpoint);
    let passes = (shared.all.enter(), gate.enter());
    let authorization = request.header("authorization");
    let authorization = authorization.and_then(Authorization::parse);
    let accepts_gzip = accepts_gzip(request.header("accept-encoding"));
    let (reply, plan) = match refusal(shared, &request, gate, authorization.as_ref()) {
        Some(reply) => (Some(reply), Plan::default()),
        None => reply(shared, &request, endpoint, accepts_gzip),
    };
    let wire = reply.map(|mut reply| {
        if reply.limits.is_empty() {
            reply.limits = gate.headers();
        }
        let rows = reply.body.rows;
        (
            on_wire(shared, reply, plan.wire.as_ref(), request.keep_alive),
            rows,
        )
    });
    shared.log.add(LoggedRequest {
        at,
        endpoint,
        accepts_gzip,
        authorization_user: authorization.and_then(|found| found.user().map(str::to_owned)),
        status: wire.as_ref().map_or(0, |(answer, _)| answer.status),
        rows: wire.as_ref().map_or(0, |(_, rows)| *rows),
        fault: (!plan.names.is_empty()).then(|| plan.names.join("; ")),
        method: request.method,
        path: request.path,
        query: request.query,
        form: request.form,
        headers: request.headers,
    });
    let delay = shared.config.latency + plan.delay.unwrap_or_default();
    if delay > Duration::ZERO && shared.stop.wait(delay) {
        return false;
    }
    match wire {
        None => false,
        Some((answer, _)) => connection
            .send(&answer, passes, &shared.stop)
            .unwrap_or(false),
    }
}

/// A status and a body before its way onto the wire.
struct Reply {
    status: u16,
    body: Body,
    retry_after: Option<String>,
    location: Option<String>,
    /// Headers that tell of the limits; empty for those of the endpoint.
    limits: Vec<(&'static str, String)>,
    /// The wait after each byte of the body.
    drip: Option<Duration>,
    content_type: &'static str,
}

impl Reply {
    fn error(status: u16, body: serde_json::Value) -> Self {
        Self::status(status, body.to_string(), None)
    }

    fn status(status: u16, body: String, retry_after: Option<String>) -> Self {
        let is_json = body.starts_with('{');
        Self {
            status,
            retry_after,
            location: None,
            limits: Vec::new(),
            drip: None,
            content_type: if is_json {
                "application/json"
            } else {
                "text/plain"
            },
            body: Body::of_text(body.into_bytes(), 0, None),
        }
    }

    fn rows(body: Body, content_type: &'static str) -> Self {
        Self {
            status: 200,
            body,
            retry_after: None,
            location: None,
            limits: Vec::new(),
            drip: None,
            content_type,
        }
    }
}

fn accepts_gzip(header: Option<&str>) -> bool {
    header.unwrap_or_default().split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = ["q=0", "q=0.0", "q=0.00", "q=0.000"].contains(&weight.trim());
        ["gzip", "x-gzip"].contains(&name.trim()) && !refused
    })
}

/// Checks credentials, project and limits.
fn refusal(
    shared: &Shared,
    request: &Request,
    gate: &Arc<Gate>,
    authorization: Option<&Authorization>,
) -> Option<Reply> {
    let Some(caller) = shared.config.accounts.caller(authorization) else {
        let body = json!({
            "error": "Invalid credentials",
            "request": request.target,
            "status": "error",
        });
        return Some(Reply::error(401, body));
    };
    let params = params(request);
    match (params.get("project_id"), &shared.config.project_id) {
        (None, _) if caller == Caller::Service => {
            let message = "project_id is a required parameter for service accounts";
            return Some(Reply::error(400, json!({"error": message})));
        }
        (Some(given), Some(wanted)) if given != wanted => {
            let message = format!("you do not have permission to read project {given}");
            let body = json!({"error": message, "request": request.target, "status": "error"});
            return Some(Reply::error(403, body));
        }
        _ => {}
    }
    let is_further_page = params.get("session_id").is_some();
    let message = gate.admit(!is_further_page).err()?;
    let body = json!({"error": message, "request": request.path, "status": "error"});
    let retry_after = gate.limits().retry_after.clone();
    Some(Reply::status(429, body.to_string(), retry_after))
}

fn params(request: &Request) -> Params<'_> {
    Params {
        query: &request.query,
        form: &request.form,
    }
}

/// Makes the reply to an admitted request; `None` is a dropped connection.
fn reply(
    shared: &Shared,
    request: &Request,
    endpoint: Endpoint,
    accepts_gzip: bool,
) -> (Option<Reply>, Plan) {
    let mut plan = shared.injector.plan(&target(request, endpoint));
    match plan.refusal.take() {
        Some(Action::Status {
            code,
            retry_after,
            body,
        }) => {
            let default = || json!({"error": "injected fault", "status": "error"}).to_string();
            let body = body.unwrap_or_else(default);
            return (Some(Reply::status(code, body, retry_after)), plan);
        }
        Some(Action::RateLimited {
            per_hour,
            resets_in,
        }) => {
            let counters = format!(
                "{}/{per_hour} queries running in the last hour",
                per_hour + 1
            );
            let body = json!({"error": too_many(&counters), "status": "error"});
            let reply = Reply {
                limits: rate_limit(per_hour as usize, 0, resets_in.into(), 3_600, Some(5)),
                ..Reply::status(429, body.to_string(), None)
            };
            return (Some(reply), plan);
        }
        Some(Action::Redirect { code, location }) => {
            let reply = Reply {
                location: Some(location),
                ..Reply::status(code, String::new(), None)
            };
            return (Some(reply), plan);
        }
        Some(Action::Drip { code, pause }) => {
            let reply = Reply {
                drip: Some(pause),
                ..Reply::status(code, "a drop of an error ".repeat(1_000), None)
            };
            return (Some(reply), plan);
        }
        Some(_) => return (None, plan),
        None => {}
    }
    let accepts_gzip = match plan.wire {
        Some(Action::Unframed(end)) => accepts_gzip && end == Unframed::Gzip,
        _ => accepts_gzip,
    };
    let gzip = accepts_gzip.then_some(shared.config.gzip_level);
    let fault = plan.text.as_ref();
    let made = match (endpoint, request.method.as_str()) {
        (Endpoint::Engage, "POST") if request.bad_body.is_some() => {
            Err(request.bad_body.clone().unwrap_or_default())
        }
        (Endpoint::Export, "GET") => export_rows(shared, request, fault, gzip),
        (Endpoint::Engage, "GET" | "POST") => engage_page(shared, request, fault, gzip),
        (Endpoint::Other, _) => {
            let body = json!({"error": "not found", "request": request.path});
            Ok(Reply::error(404, body))
        }
        _ => Ok(Reply::error(405, json!({"error": "method not allowed"}))),
    };
    let mut reply = match made {
        Ok(reply) => reply,
        Err(message) => Reply::error(400, json!({"error": message, "status": "error"})),
    };
    let needs_gzip = match plan.wire {
        Some(Action::CorruptGzip | Action::CutClean(_)) => gzip,
        _ => None,
    };
    if let Some(level) = needs_gzip
        && reply.status == 200
    {
        reply.body.compress(level);
    }
    (Some(reply), plan)
}

fn target(request: &Request, endpoint: Endpoint) -> Target {
    let params = params(request);
    let text = |name| params.get(name).unwrap_or_default();
    let page = params.get("page").map_or(Some(0), |page| page.parse().ok());
    let (from, to, session) = (text("from_date"), text("to_date"), text("session_id"));
    Target {
        endpoint,
        from_date: from.parse().ok(),
        page: page.filter(|_| endpoint == Endpoint::Engage),
        window: format!("{from} {to} {session} {page:?}"),
    }
}

fn export_rows(
    shared: &Shared,
    request: &Request,
    fault: Option<&Action>,
    gzip: Option<u32>,
) -> Result<Reply, String> {
    let query = ExportQuery::from_params(&params(request))?;
    if shared.config.today.is_some_and(|today| query.to > today) {
        return Err("to_date cannot be later than today".to_owned());
    }
    let data = shared.data();
    let body = match fault {
        None => shared.cache.answer(&data, &query, gzip)?,
        Some(fault) => export::faulty(&data, &query, fault, gzip)?,
    };
    Ok(Reply::rows(body, "text/plain; charset=utf-8"))
}

fn engage_page(
    shared: &Shared,
    request: &Request,
    fault: Option<&Action>,
    gzip: Option<u32>,
) -> Result<Reply, String> {
    let (sessions, paging) = (&shared.sessions, &shared.config.paging);
    let page = sessions.page(&shared.data(), &params(request), paging, fault)?;
    let body = Body::of_text(page.text, page.rows, gzip);
    Ok(Reply::rows(body, "application/json"))
}

/// Adds framing and the faults below the text.
fn on_wire(shared: &Shared, reply: Reply, fault: Option<&Action>, keep_alive: bool) -> Answer {
    let Reply {
        status,
        body,
        retry_after,
        location,
        limits,
        drip,
        content_type,
    } = reply;
    let mut headers = vec![("Content-Type", content_type.to_owned())];
    if body.is_gzip {
        headers.push(("Content-Encoding", "gzip".to_owned()));
    }
    headers.extend(limits);
    headers.extend(retry_after.map(|text| ("Retry-After", text)));
    headers.extend(location.map(|text| ("Location", text)));
    if !keep_alive {
        headers.push(("Connection", "close".to_owned()));
    }
    let chunked = match shared.config.framing {
        Framing::Auto => body.is_gzip,
        Framing::ContentLength => false,
        Framing::Chunked => true,
        Framing::Alternating => shared.answers.fetch_add(1, Ordering::Relaxed) % 2 == 1,
    };
    let mut answer = Answer {
        status,
        headers,
        body: body.bytes,
        chunked,
        pace: drip.map(|pause| (1, pause)),
        cut: None,
        unframed: None,
    };
    match fault {
        Some(Action::SlowBody {
            bytes_per_chunk,
            pause,
        }) => answer.pace = Some((*bytes_per_chunk, *pause)),
        Some(Action::CutBody(cut)) => answer.cut = cut.position(answer.body.len()),
        Some(Action::Unframed(end)) => {
            answer.unframed = Some(*end);
            let n = shared.answers.fetch_add(1, Ordering::Relaxed);
            answer.cut = end.position(&answer.body, n);
            answer.chunked = false;
        }
        Some(fault) if body.is_gzip => spoil(Arc::make_mut(&mut answer.body), fault),
        _ => {}
    }
    answer
}

/// Damages a gzip stream; the cached answer is left as it is.
fn spoil(gzip: &mut Vec<u8>, fault: &Action) {
    let trailer = gzip.len() - 8;
    match fault {
        Action::CutClean(CleanCut::GzipTrailer) => gzip.truncate(trailer),
        Action::CutClean(CleanCut::GzipMiddle) => gzip.truncate(gzip.len() / 2),
        Action::CorruptGzip => gzip[trailer] ^= 1,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_those_who_ask() {
        for header in ["gzip", "deflate, gzip;q=0.5", "br,x-gzip"] {
            assert!(accepts_gzip(Some(header)), "{header}");
        }
        for header in [None, Some("identity"), Some("gzip;q=0"), Some("gzipped")] {
            assert!(!accepts_gzip(header), "{header:?}");
        }
    }
}
