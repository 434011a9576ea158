use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mixflow_core::cancel::cancellation;
use proptest::prelude::*;

use super::*;
use crate::events::given::{Given, alone, decoder, line};
use crate::http::room::Room;

/// Ends with an error, if it does not end before.
struct Broken(io::Cursor<Vec<u8>>, bool);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 if self.1 => Err(io::Error::other("it broke off")),
            read => Ok(read),
        }
    }
}

fn rest(body: &[u8], breaks: bool, pending: Option<&OwnedLine>) -> Rest {
    let reader = Box::new(Broken(io::Cursor::new(body.to_vec()), breaks));
    Rest {
        pending: pending.map(|line| line.as_line().to_owned()),
        lines: Lines::new(reader, Room::new(&CancelToken::never())),
    }
}

fn started(rest: Rest, decoders: usize, cancel: &CancelToken) -> Parallel {
    let started = Parallel::start(rest, decoders, Cores::one(), &decoder(), cancel);
    started.unwrap_or_else(|_| panic!("there are threads"))
}

fn in_parallel(rest: Rest, decoders: usize) -> Given {
    let mut given = Given::default();
    let mut parallel = started(rest, decoders, &CancelToken::never());
    loop {
        match parallel.next().expect("nobody cancels it") {
            Step::Block(decoded) => {
                for (line, reason) in decoded.rejects() {
                    let rejected = (line.number, reason.to_owned(), line.bytes.to_vec());
                    given.rejects.push(rejected);
                }
                for rows in parallel.rows_of(decoded) {
                    given.add(rows);
                }
            }
            Step::End(last) => {
                given.last = last;
                return given;
            }
            Step::Failed(error) => {
                given.failed = Some(error.to_string());
                return given;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Wherever the body ends or breaks off, the same comes of it.
    #[test]
    fn blocks_are_what_lines_are(
        lines in prop::collection::vec(line(), 0..40),
        pending in prop::option::of(line()),
        ended: bool,
        cut in prop::option::of(any::<prop::sample::Index>()),
        breaks: bool,
        decoders in 1..4_usize,
    ) {
        let mut body = lines.join("\n").into_bytes();
        if ended {
            body.push(b'\n');
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len() + 1));
        }
        let pending = pending.map(|line| OwnedLine {
            number: 0,
            ended: true,
            bytes: line.into_bytes(),
        });
        let pending = pending.as_ref();
        prop_assert_eq!(
            in_parallel(rest(&body, breaks, pending), decoders),
            alone(rest(&body, breaks, pending))
        );
    }
}

/// Tells when it is dropped, which its thread does at its end.
struct Endless(Arc<AtomicBool>);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = b"{\"event\":\"e\",\"properties\":{\"time\":1}}\n";
        let read = line.len().min(buffer.len());
        buffer[..read].copy_from_slice(&line[..read]);
        Ok(read)
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn endless() -> (Rest, Arc<AtomicBool>) {
    let ended = Arc::new(AtomicBool::new(false));
    let reader = Box::new(Endless(Arc::clone(&ended)));
    let lines = Lines::new(reader as Reader<'static>, Room::new(&CancelToken::never()));
    (Rest::of(lines), ended)
}

#[test]
fn threads_end_with_whoever_asks() {
    for taken in [0, 1, 20] {
        let (rest, ended) = endless();
        let mut parallel = started(rest, 2, &CancelToken::never());
        for _ in 0..taken {
            assert!(matches!(parallel.next(), Ok(Step::Block(_))));
        }
        drop(parallel);
        assert!(ended.load(Ordering::Relaxed), "after {taken}");
    }
}

#[test]
fn a_cancel_ends_the_wait_and_the_threads() {
    /// Waits until it is cancelled, as a socket does.
    struct Stalled(CancelToken);

    impl Read for Stalled {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.0.wait_until_cancelled();
            Err(io::Error::other("cancelled"))
        }
    }

    let (guard, cancel) = cancellation();
    let reader = Box::new(Stalled(cancel.clone()));
    let rest = Rest::of(Lines::new(reader, Room::new(&cancel)));
    let mut parallel = started(rest, 2, &cancel);
    let waiting = std::thread::spawn(move || parallel.next().is_err());
    assert!(cancel.wait(Duration::from_millis(20)).is_ok());
    drop(guard);
    assert!(waiting.join().expect("no panic"));
}

#[test]
fn nobody_waits_for_a_server_that_says_nothing() {
    struct Silent(Receiver<Never>);

    impl Read for Silent {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            let _gone = self.0.recv();
            Ok(0)
        }
    }

    let (silence, silent) = bounded(0);
    let reader = Box::new(Silent(silent)) as Reader<'static>;
    let lines = Lines::new(reader, Room::new(&CancelToken::never()));
    drop(started(Rest::of(lines), 2, &CancelToken::never()));
    drop(silence);
}

#[test]
#[should_panic(expected = "the reader broke")]
fn a_panic_of_a_thread_is_one_of_whoever_asks() {
    struct Panics;

    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("the reader broke")
        }
    }

    let lines = Lines::new(
        Box::new(Panics) as Reader<'static>,
        Room::new(&CancelToken::never()),
    );
    let mut parallel = started(Rest::of(lines), 2, &CancelToken::never());
    while parallel.next().is_ok() {}
}
