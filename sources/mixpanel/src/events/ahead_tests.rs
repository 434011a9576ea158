use std::time::Duration;

use mixflow_core::cancel::cancellation;
use proptest::prelude::*;

use super::*;
use crate::events::given::{Given, alone, decoder, line};
use crate::events::parallel::Rest;

fn ahead() -> Ahead {
    Ahead::new(decoder(), Room::new(&CancelToken::never()))
}

fn lines(body: &[u8]) -> Lines<Reader<'static>> {
    Lines::new(reader(body), Room::new(&CancelToken::never()))
}

fn reader(body: &[u8]) -> Reader<'static> {
    Box::new(io::Cursor::new(body.to_vec()))
}

/// Decodes lines to their end.
fn whole(lines: Lines<Reader<'static>>) -> Given {
    let mut given = alone(Rest::of(lines));
    let Some(last) = given.last.take() else {
        return given;
    };
    let mut decoder = decoder();
    match decoder.push(&last.bytes) {
        Ok(()) => given.add(decoder.take_uncounted().expect("it has a row")),
        Err(reason) => given.rejects.push((last.number, reason, last.bytes)),
    }
    given
}

/// Reads what was decoded ahead, and then the rest of `body`.
fn with_rows_ahead(ahead: Option<AheadRows>, body: &[u8]) -> Given {
    let Some(mut ahead) = ahead else {
        return whole(lines(body));
    };
    let mut given = Given::default();
    let cancel = CancelToken::never();
    while let Some(decoded) = ahead.next(&cancel).expect("nobody cancels it") {
        if let Some(rows) = decoded.rows {
            given.add(rows);
        }
        let rejects = decoded.rejects.into_iter();
        given
            .rejects
            .extend(rejects.map(|(line, reason)| (line.number, reason, line.bytes)));
    }
    let room = Room::new(&cancel);
    let rest = whole(ahead.lines_after(reader(body), room));
    given.rows.extend(rest.rows);
    given.lengths.extend(rest.lengths);
    given.version = given.version.max(rest.version);
    given.rejects.extend(rest.rejects);
    given
}

fn record(n: usize) -> String {
    format!("{{\"event\":\"e{n}\",\"properties\":{{\"time\":{n}}}}}\n")
}

/// Whether there is a core beside that of the test; where tests are threads of one
/// process others may have taken it.
fn is_idle() -> bool {
    Cores::idle(1).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However the body comes, wherever reading ahead ends, and whether there is a
    /// core for it: the same rows come of it, in the same order, each once.
    #[test]
    fn a_body_gives_the_same_however_much_is_read_ahead(
        parts in prop::collection::vec(line(), 0..60),
        ended: bool,
        mark: bool,
        cuts in prop::collection::vec(1..90_usize, 1..20),
    ) {
        let mut body = if mark { "\u{FEFF}" } else { "" }.to_owned();
        body += &parts.join("\n");
        if ended {
            body.push('\n');
        }
        let body = body.into_bytes();
        let mut ahead = ahead();
        let mut cuts = cuts.iter().cycle();
        let mut rest = &body[..];
        while !rest.is_empty() {
            let n = (*cuts.next().expect("it cycles")).min(rest.len());
            ahead.take(&rest[..n]);
            rest = &rest[n..];
        }
        prop_assert_eq!(with_rows_ahead(ahead.finish(), &body), whole(lines(&body)));
    }
}

#[test]
fn a_large_body_is_read_ahead_as_far_as_there_is_memory() {
    for (records, is_all) in [(20, true), (2_000, false)] {
        if !is_idle() {
            return;
        }
        let body: String = (0..records).map(record).collect();
        let mut ahead = ahead();
        ahead.take(body.as_bytes());
        let rows = ahead.finish();
        let read = rows.as_ref().map(|rows| rows.read.is_none());
        // What is larger than all there may be is one piece here, so nothing is ahead.
        assert_eq!(read, is_all.then_some(true));
        assert_eq!(with_rows_ahead(rows, body.as_bytes()).rows.len(), records);
    }
}

#[test]
fn a_small_body_has_no_thread() {
    let mut ahead = ahead();
    ahead.take(record(1).as_bytes());
    assert!(ahead.finish().is_none());
}

/// It would wait for room that whoever checks the body may have.
#[test]
fn nothing_is_read_ahead_from_a_long_line_on() {
    let mut body: String = (0..5).map(record).collect();
    let before = body.len() as u64;
    body += &"x".repeat(2 * LONGEST);
    body.push('\n');
    body += &record(6);
    let mut ahead = ahead();
    for piece in body.as_bytes().chunks(30) {
        ahead.take(piece);
    }
    let is_idle = matches!(ahead.work, Work::Ended(Some(_)));
    let rows = ahead.finish();
    let read = rows.as_ref().and_then(|rows| rows.read);
    assert_eq!(read.map(|read| read.bytes), is_idle.then_some(before));
    let given = with_rows_ahead(rows, body.as_bytes());
    assert_eq!((given.rows.len(), given.rejects.len()), (6, 1));
    assert_eq!(given.rejects[0].0, 6);
}

/// A body that breaks off is given up with what was read of it.
#[test]
fn what_is_given_up_gives_memory_and_core_back() {
    let taken = || AHEAD.lent();
    let body: String = (0..10).map(record).collect();
    for _ in 0..50 {
        let mut ahead = ahead();
        ahead.take(body.as_bytes());
        ahead.take(body.as_bytes());
        drop(ahead);
    }
    // Other tests may have their share in the same process.
    assert!(taken() <= MOST);
    for _ in 0..100 {
        if is_idle() && taken() == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(cores == 1, "a core or memory was not given back");
}

#[test]
fn nobody_waits_for_rows_after_a_cancel() {
    if !is_idle() {
        return;
    }
    let (guard, cancel) = cancellation();
    let mut ahead = ahead();
    for n in 0..10 {
        ahead.take(record(n).as_bytes());
    }
    let Work::Runs(pieces, thread) = std::mem::replace(&mut ahead.work, Work::Ended(None)) else {
        panic!("it is large enough");
    };
    let mut rows = AheadRows {
        thread: Some(thread),
        read: None,
        _loan: AHEAD.loan(),
    };
    let waiting = std::thread::spawn(move || rows.next(&cancel).is_err());
    drop(guard);
    assert!(waiting.join().expect("no panic"));
    drop(pieces);
}

#[test]
#[should_panic(expected = "the decoder broke")]
fn a_panic_of_the_thread_is_one_of_whoever_asks() {
    let (decodes, decoded) = unbounded();
    let handle = std::thread::spawn(move || {
        let _decodes = decodes;
        panic!("the decoder broke")
    });
    let mut rows = AheadRows {
        thread: Some(Thread { decoded, handle }),
        read: None,
        _loan: AHEAD.loan(),
    };
    let _ends = rows.next(&CancelToken::never());
}
