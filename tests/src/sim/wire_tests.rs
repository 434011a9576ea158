//! The simulator as a client sees it, through a socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flate2::read::GzDecoder;
use jiff::civil::date;
use serde_json::Value;

use super::{Builder, Data, Endpoint, EngageQuery, ExportQuery, Fault, Framing, Limits, Simulator};

pub(super) const BASIC: &str = "Authorization: Basic c2ltOnNpbS1zZWNyZXQ=\r\n";
const DAY: &str = "project_id=1&from_date=2024-01-03&to_date=2024-01-03";

/// An answer as it came over the wire.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) status: u16,
    head: String,
    body: Vec<u8>,
    /// Whether HTTP says that the body is whole.
    is_complete: bool,
}

impl Received {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn has(&self, header: &str) -> bool {
        self.head.contains(&format!("\r\n{header}\r\n"))
    }

    fn inflated(&self) -> std::io::Result<Vec<u8>> {
        let mut text = Vec::new();
        GzDecoder::new(self.body.as_slice()).read_to_end(&mut text)?;
        Ok(text)
    }
}

pub(super) fn connect(sim: &Simulator) -> TcpStream {
    TcpStream::connect(sim.address()).unwrap()
}

pub(super) fn send(stream: &mut TcpStream, request: &str) {
    stream.write_all(request.as_bytes()).unwrap();
}

fn line(stream: &mut TcpStream) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        line.push(byte[0]);
    }
    Some(String::from_utf8(line).unwrap())
}

/// Reads one answer; `None` if the connection was closed instead.
pub(super) fn receive(stream: &mut TcpStream) -> Option<Received> {
    let mut head = line(stream)?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut length = None;
    loop {
        let header = line(stream)?;
        head += &header;
        if header == "\r\n" {
            break;
        }
        if let Some(value) = header.strip_prefix("Content-Length: ") {
            length = Some(value.trim().parse::<u64>().unwrap());
        }
    }
    let mut body = Vec::new();
    let is_complete = match length {
        Some(length) => stream.take(length).read_to_end(&mut body).unwrap() as u64 == length,
        None => loop {
            let Some(size) = line(stream) else {
                break false;
            };
            let size = u64::from_str_radix(size.trim(), 16).unwrap();
            let read = stream.take(size).read_to_end(&mut body).unwrap() as u64;
            if line(stream).is_none() || read < size {
                break false;
            }
            if size == 0 {
                break true;
            }
        },
    };
    Some(Received {
        status,
        head,
        body,
        is_complete,
    })
}

fn export_with(sim: &Simulator, query: &str, headers: &str) -> Option<Received> {
    let mut stream = connect(sim);
    let request = format!("GET /api/2.0/export?{query} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    send(&mut stream, &request);
    receive(&mut stream)
}

fn export(sim: &Simulator, query: &str) -> Received {
    export_with(sim, query, BASIC).unwrap()
}

fn export_gzip(sim: &Simulator, query: &str) -> Received {
    export_with(sim, query, &format!("{BASIC}Accept-Encoding: gzip\r\n")).unwrap()
}

pub(super) fn engage(sim: &Simulator, form: &str) -> Received {
    let mut stream = connect(sim);
    let request = format!(
        "POST /api/query/engage?project_id=1 HTTP/1.1\r\n{BASIC}\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    send(&mut stream, &request);
    receive(&mut stream).unwrap()
}

fn data() -> Data {
    Data::generated(3_000, 2_000, 1)
}

pub(super) fn builder() -> Builder {
    Simulator::builder()
        .data(data())
        .credentials("sim", "sim-secret")
}

pub(super) fn start() -> Simulator {
    builder().start().unwrap()
}

fn with_fault(rule: &str) -> Simulator {
    builder()
        .fault(Fault::parse(rule).unwrap())
        .start()
        .unwrap()
}

fn expected(sim: &Simulator) -> Vec<u8> {
    let query = ExportQuery::new(date(2024, 1, 3), date(2024, 1, 3));
    let mut text = sim.expected_events(&query).join(&b'\n');
    text.push(b'\n');
    text
}

#[test]
fn a_day_is_sent_as_it_is() {
    let sim = start();
    let answer = export(&sim, DAY);
    assert_eq!((answer.status, answer.is_complete), (200, true));
    assert!(!answer.head.contains("Content-Encoding"));
    assert_eq!(answer.body, expected(&sim));
}

#[test]
fn gzip_has_the_same_text() {
    let sim = start();
    sim.warm_export(date(2024, 1, 3), date(2024, 1, 3));
    let answer = export_gzip(&sim, DAY);
    assert!(answer.has("Content-Encoding: gzip"));
    assert!(answer.has("Transfer-Encoding: chunked"));
    assert_eq!(answer.inflated().unwrap(), expected(&sim));
}

#[test]
fn a_day_without_events_is_an_empty_answer() {
    let answer = export(
        &start(),
        "project_id=1&from_date=2023-01-01&to_date=2023-01-01",
    );
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert!(answer.is_complete);
}

#[test]
fn filters_reach_the_answer() {
    let sim = start();
    let query = ExportQuery {
        events: vec!["sign up".to_owned()],
        where_: Some(r#"properties["$os"] == "iOS""#.to_owned()),
        limit: Some(5),
        time_in_ms: true,
        ..ExportQuery::new(date(2024, 1, 1), date(2024, 1, 14))
    };
    let text = "project_id=1&from_date=2024-01-01&to_date=2024-01-14&event=%5B%22sign+up%22%5D\
                &where=properties%5B%22%24os%22%5D%20%3D%3D%20%22iOS%22&limit=5&time_in_ms=true";
    let answer = export(&sim, text);
    let lines = sim.expected_events(&query);
    assert_eq!(lines.len(), 5);
    assert_eq!(answer.body.trim_ascii_end(), lines.join(&b'\n'));
}

#[test]
fn bad_parameters_are_400() {
    let sim = builder().today(date(2024, 1, 2)).start().unwrap();
    for (query, message) in [
        (
            "project_id=1&to_date=2024-01-01",
            "from_date is a required parameter",
        ),
        (
            "project_id=1&from_date=x&to_date=2024-01-01",
            "from_date must be in the format YYYY-MM-DD",
        ),
        (DAY, "to_date cannot be later than today"),
        (
            "project_id=1&from_date=2024-01-02&to_date=2024-01-01",
            "to_date cannot be earlier than from_date",
        ),
        (
            "from_date=2024-01-01&to_date=2024-01-01",
            "project_id is a required parameter for service accounts",
        ),
    ] {
        let answer = export(&sim, query);
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &Value::from(message))
        );
    }
}

#[test]
fn wrong_credentials_and_projects_are_refused() {
    let sim = builder().project_id("1").start().unwrap();
    let answer = export_with(&sim, DAY, "").unwrap();
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (401, &Value::from("error"))
    );
    assert_eq!(export(&sim, &DAY.replace("=1", "=2")).status, 403);
    assert_eq!(export(&sim, DAY).status, 200);
    let requests = sim.requests();
    assert_eq!(requests[0].authorization_user, None);
    assert_eq!(requests[2].authorization_user.as_deref(), Some("sim"));
}

#[test]
fn a_connection_takes_several_requests() {
    let sim = builder().framing(Framing::Alternating).start().unwrap();
    let mut stream = connect(&sim);
    let request = format!("GET /api/2.0/export?{DAY} HTTP/1.1\r\n{BASIC}\r\n");
    // The second request arrives together with the first one.
    send(&mut stream, &request.repeat(2));
    for chunked in [false, true] {
        let answer = receive(&mut stream).unwrap();
        assert_eq!(answer.body, expected(&sim));
        assert_eq!(answer.has("Transfer-Encoding: chunked"), chunked);
    }
    send(&mut stream, "GET /x HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(receive(&mut stream).unwrap().status, 401);
    assert!(receive(&mut stream).is_none());
}

#[test]
fn pages_add_up_to_the_snapshot() {
    let sim = builder().page_size(900).start().unwrap();
    let mut found = Vec::new();
    let mut form = String::new();
    for page in 0..3 {
        let answer = engage(&sim, &form).json();
        found.extend(answer["results"].as_array().unwrap().clone());
        assert_eq!(answer.get("total").is_some(), page == 0);
        let session = answer["session_id"].as_str().unwrap();
        form = format!("page={}&session_id={session}", page + 1);
        sim.set_data(Data::default());
    }
    sim.set_data(data());
    let expected = sim.expected_profiles(&EngageQuery::default());
    let expected: Vec<Value> = expected
        .iter()
        .map(|text| serde_json::from_slice(text).unwrap())
        .collect();
    assert_eq!(found, expected);
    let requests = sim.requests_to(Endpoint::Engage);
    assert_eq!(requests[1].param("page"), Some("1"));
    assert_eq!(
        requests.iter().map(|r| r.rows).collect::<Vec<_>>(),
        [900, 900, 200]
    );
}

#[test]
fn an_expired_session_is_400() {
    let sim = start();
    let id = engage(&sim, "").json()["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    sim.expire_sessions();
    let answer = engage(&sim, &format!("page=1&session_id={id}"));
    let message = "request for page in uncached query for params";
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &Value::from(message))
    );
}

#[test]
fn limits_answer_429() {
    let limits = Limits {
        per_hour: Some(1),
        concurrent: Some(5),
        retry_after: Some("7".to_owned()),
        ..Limits::default()
    };
    let sim = builder().limits(limits).start().unwrap();
    assert_eq!(export(&sim, DAY).status, 200);
    let answer = export(&sim, DAY);
    assert_eq!(answer.status, 429);
    assert!(answer.has("Retry-After: 7"));
    assert!(answer.has("RateLimit: \"project\";r=0;t=3600"));
    let policy = "\"project\";q=1;w=3600, \"project-concurrency\";q=5;qu=\"concurrent-requests\"";
    assert!(answer.has(&format!("RateLimit-Policy: {policy}")));
    let counters = "(2/1 queries running in the last hour)";
    assert!(answer.text().contains(counters));
    assert_eq!(engage(&sim, "").status, 200);
}

#[test]
fn a_status_fault_happens_and_is_logged() {
    let rule = "export from=2024-01-03 status=503 retry_after=\"1\" body=\"try later\"";
    let sim = with_fault(rule);
    let answer = export(&sim, DAY);
    assert_eq!((answer.status, answer.text().as_str()), (503, "try later"));
    assert!(answer.has("Retry-After: 1"));
    assert_eq!(export(&sim, DAY).status, 200);
    assert_eq!(sim.requests()[0].fault.as_deref(), Some(rule));
    assert_eq!(sim.requests()[1].fault, None);
}

#[test]
fn a_dropped_connection_has_no_answer() {
    let sim = with_fault("export drop");
    assert!(export_with(&sim, DAY, BASIC).is_none());
    assert_eq!(sim.requests()[0].status, 0);
    assert_eq!(export(&sim, DAY).status, 200);
}

#[test]
fn a_cut_body_is_incomplete() {
    let sim = with_fault("export times=2 cut=1000b");
    let plain = export(&sim, DAY);
    assert_eq!((plain.body.len(), plain.is_complete), (1_000, false));
    let gzip = export_gzip(&sim, DAY);
    assert_eq!((gzip.body.len(), gzip.is_complete), (1_000, false));
    assert!(export_gzip(&sim, DAY).inflated().is_ok());
}

#[test]
fn a_clean_cut_is_complete_and_damaged() {
    for (rule, missing) in [("export cut_clean=trailer", 8), ("export corrupt_gzip", 0)] {
        let sim = with_fault(rule);
        let bad = export_gzip(&sim, DAY);
        assert!(bad.is_complete && bad.inflated().is_err(), "{rule}");
        let good = export_gzip(&sim, DAY);
        assert_eq!(good.body.len() - bad.body.len(), missing, "{rule}");
        assert_eq!(good.inflated().unwrap(), expected(&sim), "{rule}");
    }
    let sim = with_fault("export cut_clean=middle");
    let bad = export_gzip(&sim, DAY);
    assert!(bad.is_complete && bad.inflated().is_err());
}

#[test]
fn a_line_cut_within_sound_gzip_is_found_only_in_the_text() {
    let sim = with_fault("export cut_clean=line");
    let text = export_gzip(&sim, DAY).inflated().unwrap();
    assert!(expected(&sim).starts_with(&text) && !text.ends_with(b"}"));
}

#[test]
fn a_short_gzip_answer_can_be_damaged_too() {
    let sim = with_fault("engage cut_clean=trailer");
    let mut stream = connect(&sim);
    let request = format!(
        "POST /api/query/engage?project_id=1&distinct_id=nobody HTTP/1.1\r\n{BASIC}\
         Accept-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"
    );
    send(&mut stream, &request);
    let answer = receive(&mut stream).unwrap();
    assert!(answer.has("Content-Encoding: gzip") && answer.inflated().is_err());
}

#[test]
fn a_slow_body_arrives_whole() {
    let sim = with_fault("export slow_body=100000/1ms");
    assert_eq!(export(&sim, DAY).body, expected(&sim));
}

#[test]
fn dropping_the_simulator_ends_a_wait() {
    let sim = builder()
        .latency(Duration::from_secs(3_600))
        .start()
        .unwrap();
    let mut stream = connect(&sim);
    send(
        &mut stream,
        &format!("GET /api/2.0/export?{DAY} HTTP/1.1\r\n{BASIC}\r\n"),
    );
    while sim.requests().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(sim.peak_concurrency(), 1);
    drop(sim);
    assert!(receive(&mut stream).is_none());
}

#[test]
fn requests_at_once_are_counted_and_one_after_the_other_are_not() {
    let sim = start();
    for _ in 0..20 {
        export(&sim, DAY);
    }
    assert_eq!(sim.peak_concurrency(), 1);
}

#[test]
fn the_log_file_has_a_line_for_each_request() {
    let path = std::env::temp_dir().join(format!("mixpanel-sim-{}.log", std::process::id()));
    let sim = builder().log_file(&path).start().unwrap();
    export(&sim, DAY);
    export(&sim, "");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let statuses: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["status"].clone())
        .collect();
    assert_eq!(statuses, [200, 400]);
}

#[test]
fn a_chunked_request_body_is_read() {
    let sim = start();
    let mut stream = connect(&sim);
    let request = format!(
        "POST /api/query/engage?project_id=1 HTTP/1.1\r\n{BASIC}Transfer-Encoding: chunked\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n6\r\npage=x\r\n0\r\n\r\n"
    );
    send(&mut stream, &request);
    assert_eq!(receive(&mut stream).unwrap().status, 400);
    assert_eq!(sim.requests()[0].param("page"), Some("x"));
}

/// Asks with gzip wanted and reads until the connection ends.
fn until_the_end(rule: &str) -> (String, std::io::Result<usize>) {
    let sim = builder()
        .fault(Fault::parse(rule).unwrap())
        .start()
        .unwrap();
    let mut stream = connect(&sim);
    let head = format!("{BASIC}Accept-Encoding: gzip\r\nConnection: close\r\n");
    let request = format!("GET /api/2.0/export?{DAY} HTTP/1.1\r\nHost: x\r\n{head}\r\n");
    send(&mut stream, &request);
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes);
    (String::from_utf8_lossy(&bytes).into_owned(), ended)
}

#[test]
fn an_unframed_body_ends_with_its_connection() {
    let (whole, ended) = until_the_end("export unframed=whole");
    assert!(ended.is_ok() && whole.ends_with("}\n"));
    assert!(whole.starts_with("HTTP/1.0 200 OK\r\n") && !whole.contains("Content-Length"));
    let (cut, ended) = until_the_end("export unframed=cut");
    assert!(ended.is_ok() && cut.ends_with("}\n") && cut.len() < whole.len());
    let (reset, ended) = until_the_end("export unframed=reset");
    assert!(ended.is_err() && reset.len() < whole.len());
    let (gzip, _) = until_the_end("export unframed=gzip");
    assert!(gzip.contains("Content-Encoding: gzip"));
}

#[test]
fn a_redirect_names_a_place() {
    let (answer, _) = until_the_end("export redirect=302 location=\"http://x/\"");
    assert!(answer.contains("HTTP/1.1 302 Found\r\n"), "{answer}");
    assert!(answer.contains("\r\nLocation: http://x/\r\n"), "{answer}");
}
