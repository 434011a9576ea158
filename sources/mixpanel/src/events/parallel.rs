//! Decodes a large body on the cores that nobody uses, in its order.
//!
//! One thread reads the body, which inflates it, and cuts it into blocks at
//! line ends; others decode the blocks; whoever asks gets them in the order of
//! the body. Nothing is counted or rejected here, since only what was asked for
//! is to count.

use std::any::Any;
use std::io;
use std::panic::resume_unwind;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use mixflow_core::cancel::CancelToken;
use mixflow_core::error::{Error, Result};

use super::blocks::{Block, Never};
use crate::cores::Cores;
use crate::decode::{Decoder, Uncounted};
use crate::http::encoding::Reader;
use crate::http::lines::{Line, Lines, OwnedLine};

/// Batches after which a body is a large one: starting threads takes as long as
/// decoding a hundred records.
const LARGE: u64 = 8;

/// The most cores that are taken for one body: four threads that decode wait
/// for the one that inflates.
const MOST_CORES: usize = 3;

/// How long to wait for a thread that reads from a server which says nothing.
const GRACE: Duration = Duration::from_millis(200);

/// What comes next of a body.
pub(super) enum Step {
    /// A block, decoded.
    Block(Decoded),
    /// The end, and the last line, which is in no block: only who asked for the
    /// body can tell whether it broke off there.
    End(Option<OwnedLine>),
    /// The body cannot be read any further. The last line before is lost.
    Failed(io::Error),
}

/// A block, decoded.
#[derive(Default)]
pub(super) struct Decoded {
    pub(super) block: Block,
    rows: Vec<Uncounted>,
    /// The lines that are no records, by their position in the block, and why.
    rejects: Vec<(usize, String)>,
}

/// The threads of one body. Dropping it ends them.
pub(super) struct Parallel {
    /// The blocks in their order, each as it will come.
    steps: Option<Receiver<Receiver<Step>>>,
    /// Memory to be used again.
    spare: Sender<Block>,
    threads: Vec<JoinHandle<()>>,
    /// Disconnected when all of them have ended.
    ended: Receiver<Never>,
    cancel: CancelToken,
    _cores: Cores,
}

/// A body, on one thread or on several.
pub(super) enum Feed {
    Lines(Rest),
    Parallel(Parallel),
}

/// The rest of a body.
pub(super) struct Rest {
    /// A line before that was not decoded.
    pub(super) pending: Option<OwnedLine>,
    pub(super) lines: Lines<Reader<'static>>,
}

impl Rest {
    pub(super) fn of(lines: Lines<Reader<'static>>) -> Rest {
        Rest {
            pending: None,
            lines,
        }
    }
}

impl Feed {
    /// Starts threads for a body that has given so many `batches`, if it is a
    /// large one and cores are idle. `decoder` is to have no rows.
    pub(super) fn spread(self, batches: u64, decoder: &Decoder, cancel: &CancelToken) -> Feed {
        match self {
            Feed::Lines(rest) if batches.is_multiple_of(LARGE) => match Cores::idle(MOST_CORES) {
                // Whoever asks has next to nothing to do.
                Some(cores) => Parallel::start(rest, cores.count() + 1, cores, decoder, cancel)
                    .map_or_else(|rest| Feed::Lines(*rest), Feed::Parallel),
                None => Feed::Lines(rest),
            },
            feed => feed,
        }
    }
}

impl Decoded {
    /// Returns the lines that are no records, and why.
    pub(super) fn rejects(&self) -> impl Iterator<Item = (Line<'_>, &str)> {
        let rejects = self.rejects.iter();
        rejects.map(|(n, reason)| (self.block.line(*n), reason.as_str()))
    }
}

impl Parallel {
    /// Starts a thread that reads, and some that decode. Gives the body back
    /// where there are no threads to be had.
    fn start(
        rest: Rest,
        decoders: usize,
        cores: Cores,
        decoder: &Decoder,
        cancel: &CancelToken,
    ) -> Result<Parallel, Box<Rest>> {
        let (step, steps) = bounded(decoders);
        let (spare, spares) = unbounded();
        let (work, todo) = unbounded();
        let (give, given) = bounded(1);
        let mut cutter = Cutter {
            cancel: cancel.clone(),
            steps: step,
            work,
            spares,
        };
        let (alive, ended) = bounded(0);
        let mut threads = Vec::new();
        for _ in 0..decoders {
            let (decoder, todo) = (decoder.another(), todo.clone());
            threads.extend(spawn("decode", &alive, move || decode(decoder, &todo)));
        }
        let can_decode = !threads.is_empty();
        // The body comes afterwards, so that it is not lost without a thread.
        let cutting = spawn("inflate", &alive, move || {
            if let Ok(rest) = given.recv() {
                // Where nobody asks any more there is nothing to be done.
                let _gone = cutter.cut(rest);
            }
        });
        let can_read = cutting.is_some();
        threads.extend(cutting);
        drop(alive);
        let parallel = Parallel {
            steps: Some(steps),
            spare,
            threads,
            ended,
            cancel: cancel.clone(),
            _cores: cores,
        };
        if !(can_decode && can_read) {
            drop(give);
            return Err(Box::new(rest));
        }
        give.send(rest).map_err(|unsent| Box::new(unsent.0))?;
        Ok(parallel)
    }

    /// Waits for what comes next in the order of the body. Ends with a panic
    /// where a thread has.
    pub(super) fn next(&mut self) -> Result<Step> {
        let next = self.steps.as_ref().and_then(|steps| {
            let step = self.cancel.recv(steps)?;
            self.cancel.recv(&step)
        });
        if let Some(step) = next {
            return Ok(step);
        }
        self.cancel.check()?;
        if let Some(panic) = self.end() {
            resume_unwind(panic);
        }
        Err(Error::interrupted())
    }

    /// Returns the rows of a block, whose memory is used again.
    pub(super) fn rows_of(&self, decoded: Decoded) -> Vec<Uncounted> {
        let Decoded {
            mut block, rows, ..
        } = decoded;
        if !block.is_long() {
            block.clear();
            // The thread may have ended.
            let _ = self.spare.send(block);
        }
        rows
    }

    /// Waits until the threads have ended; returns with what one has panicked.
    /// One that still waits for a server ends with its wait.
    fn end(&mut self) -> Option<Box<dyn Any + Send>> {
        self.steps = None;
        let waits = self.ended.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout);
        let threads = self.threads.drain(..);
        let ended = threads.filter(|thread| !waits || thread.is_finished());
        let ended = ended.map(JoinHandle::join);
        ended.fold(None, |panic, ended| panic.or(ended.err()))
    }
}

impl Drop for Parallel {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts a thread that holds `alive` until it ends; `None` if it cannot.
fn spawn(
    what: &str,
    alive: &Sender<Never>,
    body: impl FnOnce() + Send + 'static,
) -> Option<JoinHandle<()>> {
    let alive = alive.clone();
    let spawned = Builder::new()
        .name(format!("mixflow-{what}"))
        .spawn(move || {
            let _alive = alive;
            body();
        });
    spawned
        .inspect_err(|error| log::warn!("cannot start a thread: {error}"))
        .ok()
}

/// A block, and where it is expected.
type Work = (Block, Sender<Step>);

/// Nobody asks for the body any more.
struct Gone;

/// Cuts a body into blocks.
struct Cutter {
    cancel: CancelToken,
    steps: Sender<Receiver<Step>>,
    work: Sender<Work>,
    spares: Receiver<Block>,
}

impl Cutter {
    /// Hands the body out. The last line stays back until the one after it has
    /// come, since it may be where the body broke off.
    fn cut(&mut self, rest: Rest) -> Result<(), Gone> {
        let Rest { pending, mut lines } = rest;
        let mut block = self.block();
        if let Some(line) = pending {
            block.push(&line.as_line());
        }
        let last = loop {
            match lines.next() {
                Ok(Some(line)) => {
                    if block.is_full_for(line.bytes.len()) {
                        self.hand_out(block)?;
                        block = self.block();
                    }
                    block.push(&line);
                }
                Ok(None) => break Step::End(block.pop()),
                Err(error) => {
                    block.pop();
                    break Step::Failed(error);
                }
            }
        };
        self.hand_out(block)?;
        self.promise()?.send(last).map_err(|_| Gone)
    }

    fn block(&self) -> Block {
        self.spares.try_recv().unwrap_or_default()
    }

    /// Waits for a place among the steps.
    fn promise(&self) -> Result<Sender<Step>, Gone> {
        let (kept, promised) = bounded(1);
        let sent = self.cancel.send(&self.steps, promised);
        sent.map(|()| kept).map_err(|_| Gone)
    }

    /// Has a block decoded. Waits until a long line is out of use, so that there
    /// is one of them at a time.
    fn hand_out(&self, mut block: Block) -> Result<(), Gone> {
        if block.len() == 0 {
            return Ok(());
        }
        let (in_use, used) = bounded(0);
        let is_long = block.is_long();
        if is_long {
            block.in_use = Some(in_use);
        }
        let promised = self.promise()?;
        self.work.send((block, promised)).map_err(|_| Gone)?;
        if is_long {
            self.cancel.recv(&used);
        }
        Ok(())
    }
}

/// Decodes blocks until there are none.
fn decode(mut decoder: Decoder, todo: &Receiver<Work>) {
    for (block, promised) in todo {
        let mut decoded = Decoded::default();
        for (n, line) in block.lines().enumerate() {
            if let Err(reason) = decoder.push(line.bytes) {
                decoded.rejects.push((n, reason));
            }
            if decoder.is_full() {
                decoded.rows.extend(decoder.take_uncounted());
            }
        }
        decoded.rows.extend(decoder.take_uncounted());
        decoded.block = block;
        // Whoever asked may have gone.
        let _ = promised.send(Step::Block(decoded));
    }
}

#[cfg(test)]
#[path = "parallel_tests.rs"]
mod tests;
