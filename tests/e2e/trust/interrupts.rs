//! Ctrl-C and SIGTERM, at every stage of a run.

use std::process::Command;
use std::time::{Duration, Instant};

use jiff::civil::date;
use mixflow_tests::sim::{Action, Data, Fault, Matcher};

use crate::support::{DUCKDB, Place, STDOUT, events, pipeline, sim, started, workers};

/// Faults that a run would wait for, for a long time.
fn waits() -> [(&'static str, Action); 3] {
    let minute = Duration::from_secs(60);
    [
        ("first byte", Action::SlowFirstByte(minute)),
        (
            "body",
            Action::SlowBody {
                bytes_per_chunk: 100,
                pause: minute,
            },
        ),
        (
            "retry",
            Action::Status {
                code: 503,
                retry_after: Some("60".to_owned()),
                body: None,
            },
        ),
    ]
}

#[test]
fn a_signal_ends_a_waiting_run_and_leaves_nothing() {
    for (what, action) in waits() {
        for (signal, sink, n) in [("INT", DUCKDB, 1), ("TERM", DUCKDB, 3), ("INT", STDOUT, 1)] {
            let data = Data::generated_between(date(2024, 1, 1), date(2024, 1, 3), 3_000, 0, 7);
            let fault = Fault::always(Matcher::export_from(date(2024, 1, 2)), action.clone());
            let sim = started(sim(data).fault(fault));
            let place = Place::new();
            let source = events(
                &sim,
                "from = \"2024-01-01\"\nto = \"2024-01-03\"\nwindow_days = 1",
            );
            place.write("test.toml", &pipeline(&[&source, sink, &workers(n)]));
            let child = place.spawn(&["run", "test.toml"]);
            let asked = Instant::now();
            while sim.requests().len() < 2 && asked.elapsed() < Duration::from_secs(20) {
                std::thread::yield_now();
            }
            let sent = Instant::now();
            let pid = child.id().to_string();
            let killed = Command::new("kill").args(["-s", signal, &pid]).status();
            assert!(killed.unwrap().success());
            let output = child.wait_with_output().unwrap();
            let took = sent.elapsed();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(130), "{what}, {signal}: {said}");
            assert!(said.contains("interrupted"), "{said}");
            // Generous: the aim is a second, and machines are noisy.
            assert!(took < Duration::from_secs(10), "{what}: {took:?}");
            assert_eq!(place.names(), Vec::<String>::new());
        }
    }
}
