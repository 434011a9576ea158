//! Asking for a part of a window until its body is whole.

use mixflow_core::context::{UnitContext, incomplete};
use mixflow_core::error::{Error, ErrorKind};

use super::ahead::{Ahead, AheadRows};
use super::direct::{DIFFERENT_ENDS, ask_twice};
use super::part::Part;
use super::window::{EventWindow, spool_error};
use crate::http::body::{Body, receive};
use crate::http::checkpoint::Checkpoint;
use crate::http::client::{Client, Request};
use crate::http::retry::{Failure, Size, Tries};
use crate::http::room::Room;
use crate::http::store::Retention;
use crate::http::sum::Sum;
use crate::http::tail::{BodyError, Content};

/// The request for a part of a window.
pub(super) struct Asking<'a> {
    window: &'a EventWindow<'a>,
    request: Request,
    /// Where the body is kept for the next run, should this one die.
    checkpoint: Option<Checkpoint>,
    /// Whether it may be decoded while it comes: parts are put together first.
    is_all: bool,
    cx: &'a UnitContext,
}

/// A body, and the rows that were decoded of it while it came.
pub(super) type Fetched = (Body, Option<AheadRows>);

/// Why a body could not be had.
pub(super) struct Unfetched {
    pub(super) error: Error,
    /// What the last try says of the size.
    pub(super) size: Size,
}

impl From<Error> for Unfetched {
    fn from(error: Error) -> Unfetched {
        Unfetched {
            error,
            size: Size::NoMatter,
        }
    }
}

impl<'a> Asking<'a> {
    pub(super) fn new(window: &'a EventWindow<'a>, part: &Part, cx: &'a UnitContext) -> Asking<'a> {
        let request = window.request(part);
        let identity = window.client.identity(&request);
        let checkpoint = window.checkpoints.map(|all| all.at(&identity));
        Asking {
            window,
            request,
            checkpoint,
            is_all: *part == Part::all(window.days),
            cx,
        }
    }

    /// Returns the body that an earlier run has left.
    pub(super) fn left(&self) -> Option<Body> {
        self.checkpoint.as_ref()?.find().map(Body::of_file)
    }

    /// Returns whether an earlier run seems to have left it.
    pub(super) fn is_left(&self) -> bool {
        self.checkpoint.as_ref().is_some_and(Checkpoint::is_left)
    }

    /// Fetches the body until it is whole, or seems too large after so many
    /// tries.
    pub(super) fn body(&self, too_large_after: u32) -> Result<Fetched, Unfetched> {
        let place = match &self.checkpoint {
            Some(checkpoint) => Retention::UntilCommit(checkpoint),
            None => Retention::ThisRun(self.window.spool),
        };
        let mut earlier = None;
        let tries = Tries::new(&self.window.client.retry, self.cx, self.label());
        let mut tries = tries.too_large_after(too_large_after);
        tries
            .run(|| self.whole(place, &mut earlier))
            .map_err(|error| Unfetched {
                error,
                size: tries.size,
            })
    }

    fn label(&self) -> &'a str {
        &self.window.unit.label
    }

    /// Makes a try to get a body that is known to be whole.
    ///
    /// One that nothing proves is asked for again; it is whole when two
    /// answers are the same. `earlier` is what the last one was, over all
    /// tries.
    fn whole(&self, place: Retention<'_>, earlier: &mut Option<Sum>) -> Result<Fetched, Failure> {
        loop {
            let (body, ahead) = self.ask(place)?;
            let before = earlier.replace(body.sum());
            if body.is_proven() || before == Some(body.sum()) {
                let body = body
                    .settle()
                    .map_err(|error| Failure::again(self.cut(&error.to_string())))?;
                return Ok((body, ahead));
            }
            if before.is_some() {
                return Err(Failure::again(self.cut(DIFFERENT_ENDS)));
            }
            ask_twice(self.label(), self.cx);
        }
    }

    /// Makes the request and keeps its answer.
    fn ask(&self, place: Retention<'_>) -> Result<Fetched, Failure> {
        let EventWindow { client, room, .. } = self.window;
        let mut answer = client.send(&self.request, self.label(), self.cx)?;
        let mut after = 0;
        let hashed = self.window.hashed();
        let ahead = || Ahead::new(self.window.decoder.another(), Room::clone(room));
        let mut ahead = self.is_all.then(ahead);
        let mut listener = |bytes: &[u8]| {
            if let Some(ahead) = &mut ahead {
                ahead.take(bytes);
            }
        };
        let content = Content::Lines(room, Some(&mut listener));
        let body = receive(&mut answer.wire, content, place, hashed, |bytes| {
            after += bytes;
            self.cx.count_bytes(bytes);
        });
        // After a cancel the end of a body may be of our own making.
        self.cx.cancel.check()?;
        let body = body.map_err(|broken| match broken {
            BodyError::Truncated(reason) => {
                Failure::of_size(self.cut(&reason), Size::BrokeOff { after })
            }
            BodyError::Malformed(reason) => Failure::Final(no_export(client, reason)),
            BodyError::Io(error) => Failure::Final(spool_error(error)),
        })?;
        Ok((body, ahead.and_then(Ahead::finish)))
    }

    fn cut(&self, reason: &str) -> Error {
        let client = self.window.client;
        // The reason may have words of the server in it.
        let reason = client.shown(reason.as_bytes());
        incomplete(format!("{} are incomplete", client.what())).because(reason)
    }
}

fn no_export(client: &Client, reason: String) -> Error {
    Error::new(
        ErrorKind::Data,
        format!("{} are not an export", client.what()),
    )
    .because(reason)
}
