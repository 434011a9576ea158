//! Signals and commands that only ask and show.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mixflow_core::cancel::CancelToken;

use crate::exit::Exit;

/// How long a command may take to end by itself: enough to remove what it has
/// staged.
const GRACE: Duration = Duration::from_millis(500);

/// Ends the process at the first Ctrl-C, SIGTERM or SIGHUP, from when it is
/// made on.
///
/// What is asked of a database is interrupted, so that the command ends as
/// after any other error. What hears of nothing (a prompt, a pipe that nobody
/// reads) ends with the process.
pub(crate) struct EndsAtSignals {
    question: Arc<Mutex<Option<Box<dyn Fn() + Send>>>>,
}

impl EndsAtSignals {
    pub(crate) fn from_now(interrupt: &CancelToken) -> EndsAtSignals {
        let question: Arc<Mutex<Option<Box<dyn Fn() + Send>>>> = Arc::default();
        let (asked, interrupt) = (Arc::clone(&question), interrupt.clone());
        std::thread::spawn(move || {
            interrupt.wait_until_cancelled();
            if let Some(stop) = &*asked.lock().unwrap_or_else(PoisonError::into_inner) {
                stop();
            }
            std::thread::sleep(GRACE);
            std::process::exit(Exit::Interrupted.number().into());
        });
        EndsAtSignals { question }
    }

    /// Has `stop` called at a signal.
    pub(crate) fn by(&self, stop: impl Fn() + Send + 'static) {
        let mut question = self.question.lock().unwrap_or_else(PoisonError::into_inner);
        *question = Some(Box::new(stop));
    }
}
