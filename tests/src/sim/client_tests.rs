//! Requests as other clients than ours make them.

use super::Endpoint;
use super::wire_tests::{BASIC, connect, engage, receive, send, start};

#[test]
fn profiles_are_given_however_a_client_asks() {
    let sim = start();
    let expected = engage(&sim, "page_size=3&where=1+%3D%3D+1");
    assert_eq!(expected.status, 200);
    let get = "page_size=3&where=1+%3D%3D+1";
    let json = r#"{"page_size": 3, "where": "1 == 1", "page": 0, "project_id": 1}"#;
    for (line, kind, body) in [
        (format!("GET /api/query/engage?project_id=1&{get}"), "", ""),
        (format!("GET /api/2.0/engage/?project_id=1&{get}"), "", ""),
        (
            "POST /api/2.0/engage?verbose=1".to_owned(),
            "application/json; charset=utf-8",
            json,
        ),
        (
            "POST /api/query/engage/".to_owned(),
            "application/json",
            json,
        ),
        (
            "POST /api/2.0/engage?project_id=1".to_owned(),
            "application/x-www-form-urlencoded",
            get,
        ),
    ] {
        let mut stream = connect(&sim);
        let length = body.len();
        let headers = format!("{BASIC}Content-Type: {kind}\r\nContent-Length: {length}\r\n");
        send(
            &mut stream,
            &format!("{line} HTTP/1.1\r\n{headers}\r\n{body}"),
        );
        let answer = receive(&mut stream).unwrap();
        assert_eq!(answer.status, 200, "{line}");
        assert_eq!(
            answer.json()["results"],
            expected.json()["results"],
            "{line}"
        );
        assert_eq!(answer.json()["results"].as_array().unwrap().len(), 3);
    }
    let mut stream = connect(&sim);
    let headers = format!("{BASIC}Content-Type: application/json\r\nContent-Length: 2\r\n");
    send(
        &mut stream,
        &format!("POST /api/2.0/engage?project_id=1 HTTP/1.1\r\n{headers}\r\n[]"),
    );
    assert_eq!(receive(&mut stream).unwrap().status, 400);
    assert!(
        sim.requests()
            .iter()
            .all(|request| request.endpoint == Endpoint::Engage)
    );
}
