//! `[notify]`: who is told how a run ended, and what.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use mixflow_tests::sim::{Data, Fault, Simulator};
use serde_json::Value;

use crate::support::{DUCKDB, Place, Ran, SECRET, events, pipeline, sim, started, workers};

/// What nobody but the two of them may know.
const PATH: &str = "/services/T0PSECRET/xyz";

/// A server that is told things; it answers with these words, once each.
struct Hook {
    url: String,
    told: Receiver<(String, Value)>,
}

impl Hook {
    fn start(answers: &[&'static str]) -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}{PATH}", listener.local_addr().unwrap());
        let (sender, told) = channel();
        let answers = answers.to_vec();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
                }
                let head = head.to_lowercase();
                let length = head.split("content-length: ").nth(1).unwrap();
                let length = length.split("\r\n").next().unwrap().parse().unwrap();
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let _ = sender.send((head, serde_json::from_slice(&body).unwrap()));
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Hook { url, told }
    }

    fn well(times: usize) -> Hook {
        Hook::start(
            &["HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"].repeat(times),
        )
    }

    /// What it was told since it was asked last.
    fn heard(&self) -> Vec<Value> {
        self.told.try_iter().map(|(_, body)| body).collect()
    }
}

const NOTIFY: &str = "[notify]\nwebhook = { url = { env = \"HOOK\" } }\n";

fn store() -> Simulator {
    started(sim(Data::sample()))
}

/// Two days, replaced.
fn days(sim: &Simulator) -> String {
    let source = events(
        sim,
        "from = \"2024-01-13\"\nto = \"2024-01-14\"\nwindow_days = 1\nretry = { max_attempts = 1 }",
    );
    pipeline(&[&source, &format!("{DUCKDB}mode = \"replace_window\"")])
}

/// Runs a pipeline whose webhook is `url`; nothing that is said names it.
fn run_told(place: &Place, text: &str, url: &str) -> Ran {
    place.write("daily.toml", text);
    let mut command = place.command(&["run", "daily.toml", "--report", "report.json", "-vvv"]);
    let ran = Ran::of(command.env("HOOK", url).output().unwrap());
    for told in [&ran.stderr, &ran.stdout_lossy(), &place.read("report.json")] {
        assert!(!told.contains("T0PSECRET"), "{told}");
        assert!(!told.contains(url), "{told}");
    }
    ran
}

fn text(body: &Value) -> &str {
    body["text"].as_str().unwrap()
}

fn fail_always(sim: &Simulator) {
    sim.add_fault(Fault::parse("export always status=500").unwrap());
}

#[test]
fn a_failure_is_told_once_it_lasts_and_its_end_once() {
    let (sim, place, hook) = (store(), Place::new(), Hook::well(9));
    let text_of_file = pipeline(&[&days(&sim), NOTIFY]);
    let run = |code| run_told(&place, &text_of_file, &hook.url).ended(code);
    run(0);
    assert_eq!(hook.heard(), Vec::<Value>::new());

    fail_always(&sim);
    run(1);
    let heard = hook.heard();
    assert_eq!(heard.len(), 1);
    assert!(
        text(&heard[0]).starts_with("mixflow: daily failed: ")
            && text(&heard[0]).contains("the server answered 500 Internal Server Error"),
        "{}",
        heard[0]
    );
    let report: Value = serde_json::from_str(&place.read("report.json")).unwrap();
    assert_eq!(heard[0]["report"], report);
    assert_eq!(report["status"], "aborted");

    sim.clear_faults();
    run(0);
    let heard = hook.heard();
    assert_eq!(heard.len(), 1);
    assert!(text(&heard[0]).starts_with("mixflow: daily has recovered: committed "));
    // The next one is as it should be.
    run(0);
    assert_eq!(hook.heard(), Vec::<Value>::new());
}

#[test]
fn a_partial_run_is_told_with_what_is_missing() {
    let (sim, place, hook) = (store(), Place::new(), Hook::well(9));
    let all = pipeline(&[&days(&sim), NOTIFY, &workers(2)]);
    sim.add_fault(Fault::parse("export from=2024-01-14 always status=500").unwrap());
    run_told(&place, &all, &hook.url).ended(3);
    let heard = hook.heard();
    assert_eq!(heard.len(), 1);
    assert!(text(&heard[0]).starts_with("mixflow: daily is partial: committed "));
    assert!(text(&heard[0]).ends_with("; missing: 2024-01-14"));
    sim.clear_faults();
    run_told(&place, &all, &hook.url).ended(0);
    assert!(text(&hook.heard()[0]).contains("has recovered"));
}

#[test]
fn what_is_told_can_be_chosen() {
    let (sim, place, hook) = (store(), Place::new(), Hook::well(9));
    let all = pipeline(&[&days(&sim), NOTIFY, "on = [\"committed\"]"]);
    run_told(&place, &all, &hook.url).ended(0);
    assert!(text(&hook.heard()[0]).starts_with("mixflow: daily: committed "));
    fail_always(&sim);
    run_told(&place, &all, &hook.url).ended(1);
    assert_eq!(hook.heard(), Vec::<Value>::new());
}

#[test]
fn what_could_not_even_begin_is_told() {
    let (sim, place, hook) = (store(), Place::new(), Hook::well(9));
    let good = pipeline(&[&days(&sim), NOTIFY]);
    let reason = |text: &str, code| {
        run_told(&place, text, &hook.url).ended(code);
        let heard = hook.heard();
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert_eq!(heard[0]["report"]["status"], "aborted");
        self::text(&heard[0]).to_owned()
    };
    // The credentials are wrong, or not there.
    let wrong = good.replace("username = \"sim\"", "username = \"nobody\"");
    assert!(reason(&wrong, 4).contains("401 Unauthorized"));
    // The destination is there.
    place.write("out.db", "no database");
    let failed = reason(&good, 6);
    assert!(failed.contains("out.db"), "{failed}");
}

#[test]
fn a_mistake_in_the_file_is_no_failure_of_a_run() {
    let (sim, place, hook) = (store(), Place::new(), Hook::well(9));
    let good = pipeline(&[&days(&sim), NOTIFY]);
    let unset = good.replace("SIM_SECRET", "UNSET");
    let mistake = good.replace("mode =", "mdoe =");
    for wrong in [&unset, &mistake] {
        run_told(&place, wrong, &hook.url).ended(2);
    }
    // So there is nothing to recover from.
    run_told(&place, &good, &hook.url).ended(0);
    assert_eq!(hook.heard(), Vec::<Value>::new());
}

#[test]
fn a_webhook_that_does_not_do_is_a_warning() {
    let (sim, place) = (store(), Place::new());
    let all = pipeline(&[&days(&sim), NOTIFY, "on = [\"committed\"]"]);
    for (answer, said) in [
        (
            "HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\nxyz!",
            "the server answered 500 Internal Server Error",
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/T0PSECRET\r\ncontent-length: 0\r\n\r\n",
            "the server answered 302 Found",
        ),
        ("", "the connection failed"),
    ] {
        let hook = Hook::start(&[answer]);
        run_told(&place, &all, &hook.url)
            .ended(0)
            .says(&format!("warning: cannot notify the webhook: {said}"))
            .says("committed ");
        let report: Value = serde_json::from_str(&place.read("report.json")).unwrap();
        assert_eq!(report["status"], "committed");
        let warnings = report["warnings"].to_string();
        assert!(warnings.contains("cannot notify the webhook"), "{warnings}");
    }
    // Nobody is there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}{PATH}", listener.local_addr().unwrap());
    drop(listener);
    run_told(&place, &all, &url)
        .ended(0)
        .says("cannot notify the webhook: the connection failed: connection refused");
    // It is no address at all.
    for url in [
        "T0PSECRET",
        "ftp://127.0.0.1/T0PSECRET",
        "http:///T0PSECRET x",
    ] {
        run_told(&place, &all, url)
            .ended(0)
            .says("cannot notify the webhook: its `url` is none such as");
    }
    run_told(
        &place,
        &all.replace("HOOK", "UNSET"),
        "http://127.0.0.1/T0PSECRET",
    )
    .ended(0)
    .says("cannot notify the webhook: cannot get the webhook's `url` from `UNSET`");
}

#[test]
fn the_request_is_json_and_carries_no_credentials() {
    let (sim, place, hook) = (store(), Place::new(), Hook::well(1));
    let all = pipeline(&[&days(&sim), NOTIFY, "on = [\"committed\"]"]);
    run_told(&place, &all, &hook.url).ended(0);
    let (head, body) = hook.told.recv().unwrap();
    assert!(head.starts_with(&format!("post {} http/1.1", PATH.to_lowercase())));
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(!head.contains("authorization"), "{head}");
    assert_eq!(body["report"]["pipeline"], "daily");
    assert!(!body.to_string().contains(SECRET));
}

#[cfg(unix)]
#[test]
fn a_command_gets_the_report_and_neither_our_stdout_nor_our_secrets() {
    let (sim, place) = (store(), Place::new());
    let notify = "[notify]\non = [\"committed\"]\ncommand = [\"sh\", \"-c\", \"cat > told.json; env > env.txt; echo noise; echo noise >&2\"]\n";
    let all = pipeline(&[&days(&sim), notify]);
    place.write("daily.toml", &all);
    let mut command = place.command(&["run", "daily.toml", "--report", "report.json"]);
    command
        .env("MIXPANEL_SECRET", "another")
        .env("MAIL_TO", "ann");
    let ran = Ran::of(command.output().unwrap()).ended(0);
    assert_eq!(ran.stdout, b"");
    assert!(!ran.stderr.contains("noise"), "{}", ran.stderr);
    assert_eq!(place.read("told.json").trim(), {
        let report: Value = serde_json::from_str(&place.read("report.json")).unwrap();
        serde_json::to_string(&report).unwrap()
    });
    let env = place.read("env.txt");
    assert!(env.contains("MAIL_TO=ann"), "{env}");
    assert!(
        !env.contains("MIXPANEL_SECRET") && !env.contains("SIM_SECRET"),
        "{env}"
    );
}

#[cfg(unix)]
#[test]
fn a_command_that_does_not_do_is_a_warning() {
    let (sim, place) = (store(), Place::new());
    for (command, said) in [
        (
            "[\"sh\", \"-c\", \"echo; echo no room >&2; exit 3\"]",
            "cannot notify `sh`: it ended with exit status: 3: no room",
        ),
        (
            "[\"no-such-program\", \"T0PSECRET\"]",
            "cannot notify `no-such-program`: it cannot be started",
        ),
    ] {
        let notify = format!("[notify]\non = [\"committed\"]\ncommand = {command}\n");
        run_told(&place, &pipeline(&[&days(&sim), &notify]), "no address")
            .ended(0)
            .says(&format!("warning: {said}"));
    }
}

/// The one test that takes the ten seconds that are promised.
#[cfg(unix)]
#[test]
fn who_does_not_answer_has_ten_seconds_together() {
    let (sim, place) = (store(), Place::new());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}{PATH}", silent.local_addr().unwrap());
    let notify = format!(
        "{NOTIFY}on = [\"committed\"]\ncommand = [\"sh\", \"-c\", \"sleep 600 & echo $! > pid; wait\"]\n"
    );
    let begun = Instant::now();
    run_told(&place, &pipeline(&[&days(&sim), &notify]), &url)
        .ended(0)
        .says("warning: cannot notify the webhook: it ")
        .says("warning: cannot notify `sh`: it took longer than 10 seconds");
    assert!(begun.elapsed() >= Duration::from_secs(10));
    assert!(begun.elapsed() < Duration::from_secs(20));
    // What it had started is gone with it.
    let stat = format!("/proc/{}/stat", place.read("pid").trim());
    let state = std::fs::read_to_string(stat).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[test]
fn check_finds_what_is_wrong_with_the_table_and_needs_no_secret() {
    let (sim, place) = (store(), Place::new());
    let check = |table: &str| {
        place.write("daily.toml", &pipeline(&[&days(&sim), table]));
        place.mixflow(&["check", "daily.toml"])
    };
    check(NOTIFY).ended(0);
    check("[notify]\nwebhok = { url = \"x\" }\n")
        .ended(2)
        .says("unknown field `webhok`, expected one of `on`, `webhook`, `command`, did you mean `webhook`?");
    check("[notify]\nwebhook = { ulr = { env = \"X\" } }\n")
        .ended(2)
        .says("unknown field `ulr`");
    check("[notify]\ncommand = [\"x\"]\non = [\"fialed\"]\n")
        .ended(2)
        .says("unknown variant `fialed`, expected one of `failed`, `partial`, `recovered`, `committed`");
    check("[notify]\n").ended(2).says("nobody would be told");
    check("[notify]\ncommand = []\n")
        .ended(2)
        .says("the command is empty");
    check("[notfiy]\n").ended(2).says("did you mean `notify`?");
    // An address in the file is a secret in the file.
    let plain = check("[notify]\nwebhook = { url = \"http://127.0.0.1/T0PSECRET\" }\n").ended(0);
    assert!(
        plain
            .stderr
            .contains("warning: `notify.webhook.url` stands in the pipeline file as plain text")
    );
    let shown =
        check("[notify]\nwebhook = { url = \"http://127.0.0.1/T0PSECRET\", to = \"T1\" }\n")
            .ended(2);
    assert!(!shown.stderr.contains("T0PSECRET"), "{}", shown.stderr);
}
