//! Ctrl-C, SIGTERM and SIGHUP: the first one is answered within a second.
//!
//! Where nothing has to be left in order, it ends the process at once. While a
//! run goes on it cancels the run's token, and the run tidies up. A second one
//! ends the process whatever it does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mixflow_core::cancel::{CancelGuard, CancelToken, cancellation};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Exit;

/// The process has one set of signals, so there is one token of them.
static TOKEN: OnceLock<CancelToken> = OnceLock::new();

/// How many things would not be left in order if the process just ended.
static TIDYING: AtomicUsize = AtomicUsize::new(0);

/// While it lives, the first signal cancels [`token`] instead of ending the
/// process. For work that leaves something in order when it is cancelled, and
/// that notices soon.
#[must_use]
pub(crate) struct Tidying(());

/// How many of them are runs, which may take a moment to end.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

impl Tidying {
    pub(crate) fn begin() -> Tidying {
        TIDYING.fetch_add(1, Ordering::SeqCst);
        RUNNING.fetch_add(1, Ordering::SeqCst);
        Tidying(())
    }
}

impl Drop for Tidying {
    fn drop(&mut self) {
        TIDYING.fetch_sub(1, Ordering::SeqCst);
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How long a command that only asks and shows may take to end by itself:
/// enough to remove what it has staged.
const GRACE: Duration = Duration::from_millis(500);

/// Ends the process at the first Ctrl-C, SIGTERM or SIGHUP, from when it is
/// made on.
///
/// What is asked of a database is interrupted, so that the command ends as
/// after any other error. What hears of nothing (a prompt, a pipe that nobody
/// reads) ends with the process.
pub(crate) struct EndsAtSignals {
    question: Arc<Mutex<Option<Stop>>>,
}

/// Ends what a database is asked.
type Stop = Box<dyn Fn() + Send>;

impl EndsAtSignals {
    pub(crate) fn from_now() -> EndsAtSignals {
        // For good: the command that has made it is all that the process does.
        TIDYING.fetch_add(1, Ordering::SeqCst);
        let question: Arc<Mutex<Option<Stop>>> = Arc::default();
        let (asked, token) = (Arc::clone(&question), token());
        std::thread::spawn(move || {
            token.wait_until_cancelled();
            if let Some(stop) = &*asked.lock().unwrap_or_else(PoisonError::into_inner) {
                stop();
            }
            std::thread::sleep(GRACE);
            end();
        });
        EndsAtSignals { question }
    }

    /// Has `stop` called at a signal.
    pub(crate) fn by(&self, stop: impl Fn() + Send + 'static) {
        let mut question = self.question.lock().unwrap_or_else(PoisonError::into_inner);
        *question = Some(Box::new(stop));
    }
}

/// What Ctrl-C does in a shell of ours, while it does something.
static AT_CTRL_C: Mutex<Option<Stop>> = Mutex::new(None);

/// While it lives, Ctrl-C ends what a database is asked, as often as it is
/// pressed, and nothing else.
#[must_use]
pub(crate) struct CtrlCEnds(());

impl CtrlCEnds {
    pub(crate) fn question(stop: impl Fn() + Send + 'static) -> CtrlCEnds {
        *AT_CTRL_C.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(stop));
        CtrlCEnds(())
    }
}

impl Drop for CtrlCEnds {
    fn drop(&mut self) {
        *AT_CTRL_C.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// How the first signal is answered while a run goes on: given what says it.
type Answering = Box<dyn Fn(&dyn Fn()) + Send>;

static ANSWERING: Mutex<Option<Answering>> = Mutex::new(None);

/// Has the answer to the first signal said by `around`, which gets out of its way
/// what is on the screen.
pub(crate) fn answer_with(around: impl Fn(&dyn Fn()) + Send + 'static) {
    *ANSWERING.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(around));
}

/// Has the answer said as it is: nothing else is on the screen.
pub(crate) fn answer_plainly() {
    *ANSWERING.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// How long the answer to the first signal may take before the run is stopped all
/// the same: whoever reads stderr may not.
const ANSWERED: Duration = Duration::from_millis(100);

/// Says that the run is stopping, before what it says itself at its end.
fn answer(stopping: &Arc<dyn Fn() + Send + Sync>) {
    let stopping = Arc::clone(stopping);
    let (done, answered) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        answer_now(&*stopping);
        // Nobody waits for it any more.
        let _ = done.send(());
    });
    drop(thread);
    let _ = answered.recv_timeout(ANSWERED);
}

fn answer_now(stopping: &dyn Fn()) {
    match &*ANSWERING.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(around) => around(stopping),
        None => stopping(),
    }
}

/// Returns the token that the first signal cancels.
pub(crate) fn token() -> CancelToken {
    TOKEN.get().cloned().unwrap_or_else(CancelToken::never)
}

/// Takes the signals over. For a process, once; `tell` is called when the first
/// one ends it, `stopping` when what goes on is to end first.
pub(crate) fn catch(tell: impl Fn() + Send + 'static, stopping: impl Fn() + Send + Sync + 'static) {
    let stopping: Arc<dyn Fn() + Send + Sync> = Arc::new(stopping);
    let (guard, token) = cancellation();
    if TOKEN.set(token).is_err() {
        return;
    }
    let mut signals = vec![SIGINT, SIGTERM];
    // Under `nohup` it is ignored, and stays so.
    if !ignores_hangup() {
        signals.push(SIGHUP);
    }
    let listening = Signals::new(signals).and_then(|signals| {
        std::thread::Builder::new()
            .name("mixflow-signals".to_owned())
            .spawn(move || listen(signals, guard, tell, stopping))
    });
    if let Err(error) = listening {
        // The system then ends the process, which aborts too.
        log::warn!("cannot take over Ctrl-C: {error}");
    }
}

fn listen(
    mut signals: Signals,
    guard: CancelGuard,
    tell: impl Fn(),
    stopping: Arc<dyn Fn() + Send + Sync>,
) {
    let mut guard = Some(guard);
    for signal in signals.forever() {
        if signal == SIGINT
            && let Some(stop) = &*AT_CTRL_C.lock().unwrap_or_else(PoisonError::into_inner)
        {
            stop();
            continue;
        }
        let is_first = guard.is_some();
        if is_first && RUNNING.load(Ordering::SeqCst) > 0 {
            answer(&stopping);
        }
        guard = None;
        if is_first && TIDYING.load(Ordering::SeqCst) > 0 {
            continue;
        }
        if is_first {
            tell();
        }
        end();
    }
}

/// Ends the process, without what libraries do at the end: their threads still
/// work.
fn end() -> ! {
    signal_hook::low_level::exit(Exit::Interrupted.number().into())
}

/// Whether whoever started the process wants it to outlive the terminal.
///
/// Only Linux tells without `unsafe`; elsewhere a hangup interrupts.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & (1 << (SIGHUP - 1)) != 0)
}
