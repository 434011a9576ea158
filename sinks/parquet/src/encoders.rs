//! Threads that encode columns beside those that write files.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Builder, available_parallelism};

use mixflow_core::{Error, ErrorKind, Result};

/// The most threads of a process. A folder by date has many files open, but one
/// thread that writes to them, which does not keep more than a few busy.
const MOST: usize = 4;

type Work = Box<dyn FnOnce() + Send>;

/// The threads, which all files of a process share.
///
/// A thread is begun when it is wanted and nobody is idle, and ends when the last
/// `Arc` of these has gone.
#[derive(Debug)]
pub(crate) struct Encoders {
    most: usize,
    threads: Mutex<Threads>,
}

#[derive(Debug, Default)]
struct Threads {
    idle: Vec<Sender<Work>>,
    begun: usize,
}

impl Encoders {
    /// Returns those of the process: none where it has one core.
    pub(crate) fn shared() -> Arc<Encoders> {
        static SHARED: OnceLock<Arc<Encoders>> = OnceLock::new();
        let new = || {
            let cores = available_parallelism().map_or(1, usize::from);
            Encoders::new(MOST.min(cores - 1))
        };
        SHARED.get_or_init(new).clone()
    }

    /// Returns as many as `most`, none of which is begun yet.
    pub(crate) fn new(most: usize) -> Arc<Encoders> {
        Arc::new(Encoders {
            most,
            threads: Mutex::default(),
        })
    }

    /// Returns whether there can be any.
    pub(crate) fn are_any(&self) -> bool {
        self.most > 0
    }

    /// Returns a thread that has nothing to do; `None` if all are busy. Does not wait.
    pub(crate) fn idle(self: &Arc<Self>) -> Option<Encoder> {
        let mut threads = self.threads();
        let idle = threads.idle.pop();
        let work = idle.or_else(|| threads.begin(self.most))?;
        Some(Encoder {
            work,
            among: self.clone(),
        })
    }

    /// A panic cannot have left them half changed.
    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Threads {
    /// Begins a thread. If the system has none to give, there is none to wait for.
    fn begin(&mut self, most: usize) -> Option<Sender<Work>> {
        if self.begun >= most {
            return None;
        }
        let (sender, work) = channel::<Work>();
        let thread = Builder::new().name("mixflow-encode".to_owned());
        let begun = thread.spawn(move || work.iter().for_each(|work| work()));
        begun.ok()?;
        self.begun += 1;
        Some(sender)
    }
}

/// A thread that is not idle; dropping it says that it is again.
#[derive(Debug)]
pub(crate) struct Encoder {
    work: Sender<Work>,
    among: Arc<Encoders>,
}

impl Encoder {
    /// Has the thread do something, after which it is idle. Does not wait.
    pub(crate) fn start<R: Send + 'static>(
        self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Answer<R> {
        let (sender, answer) = channel();
        let thread = self.work.clone();
        let work = move || {
            let done = catch_unwind(AssertUnwindSafe(work));
            // First of all, so that whoever has the answer finds an idle thread.
            drop(self);
            // Nobody waits for what a file that was dropped would have got.
            let _ = sender.send(done);
        };
        // The thread lives as long as somebody can send. If it did not, `sender`
        // would go with the work, and the answer would say so.
        let _ = thread.send(Box::new(work));
        Answer(answer)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.among.threads().idle.push(self.work.clone());
    }
}

/// What a thread will have done. Dropping it does not end the work.
#[derive(Debug)]
pub(crate) struct Answer<R>(Receiver<thread::Result<R>>);

impl<R> Answer<R> {
    /// Waits until the work is done. Fails if it panicked.
    pub(crate) fn wait(&self) -> Result<R> {
        done(self.0.recv().ok())
    }

    /// Returns what was done, or `None` if it is not done yet. Fails if it panicked.
    pub(crate) fn ready(&self) -> Option<Result<R>> {
        match self.0.try_recv() {
            Err(TryRecvError::Empty) => None,
            answer => Some(done(answer.ok())),
        }
    }
}

fn done<R>(answer: Option<thread::Result<R>>) -> Result<R> {
    const WHAT: &str = "the encoding of columns";
    match answer {
        Some(Ok(done)) => Ok(done),
        Some(Err(payload)) => Err(Error::panicked(WHAT, &*payload)),
        None => Err(Error::new(ErrorKind::Panic, format!("{WHAT} ended"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_threads_are_begun_than_may_be() {
        let encoders = Encoders::new(2);
        let (first, second) = (encoders.idle(), encoders.idle());
        assert!(first.is_some() && second.is_some());
        assert!(encoders.idle().is_none());
        drop(first);
        assert!(encoders.idle().is_some());
        assert_eq!(encoders.threads().begun, 2);
    }

    #[test]
    fn one_core_has_no_thread_to_spare() {
        let encoders = Encoders::new(0);
        assert!(!encoders.are_any());
        assert!(encoders.idle().is_none());
    }

    #[test]
    fn whoever_has_the_answer_finds_the_thread_idle() {
        let encoders = Encoders::new(1);
        for n in 0..100 {
            let answer = encoders.idle().expect("it is idle").start(move || n);
            assert_eq!(answer.wait().expect("no panic"), n);
        }
        assert_eq!(encoders.threads().begun, 1);
    }

    #[test]
    fn a_panic_is_an_error_and_leaves_the_thread_as_it_was() {
        let encoders = Encoders::new(1);
        let answer = encoders
            .idle()
            .expect("it is idle")
            .start(|| panic!("no room"));
        let error = answer.wait().map(|(): ()| ()).expect_err("it panicked");
        assert_eq!(error.kind(), ErrorKind::Panic);
        assert_eq!(error.to_string(), "the encoding of columns panicked");
        let answer = encoders.idle().expect("it is idle").start(|| 7);
        assert_eq!(answer.wait().expect("no panic"), 7);
    }

    #[test]
    fn an_answer_that_nobody_waits_for_keeps_no_thread_busy() {
        let encoders = Encoders::new(1);
        let (go, wait) = channel::<()>();
        drop(
            encoders
                .idle()
                .expect("it is idle")
                .start(move || wait.recv()),
        );
        assert!(encoders.idle().is_none());
        go.send(()).expect("it waits");
        while encoders.idle().is_none() {
            thread::yield_now();
        }
    }
}
