//! One window of events: its body fetched until it is whole, and its rows.

use std::path::Path;

use arrow::record_batch::RecordBatch;
use mixflow_core::clock;
use mixflow_core::context::{Delivery, Notice, UnitContext, incomplete};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::ledger::BodyFacts;
use mixflow_core::reject::Reject;
use mixflow_core::source::BatchIter;

use super::direct::{DIFFERENT_ENDS, DirectRows, ask_twice};
use crate::decode::{Decoder, Form};
use crate::http::body::{Body, receive};
use crate::http::checkpoint::Checkpoint;
use crate::http::client::{Client, Request};
use crate::http::lines::Lines;
use crate::http::retry::{Failure, Tries};
use crate::http::room::Room;
use crate::http::store::Retention;
use crate::http::sum::Sum;
use crate::http::tail::{BodyError, Content};

/// One window of days.
pub(super) struct EventWindow<'a> {
    pub(super) label: &'a str,
    pub(super) request: Request,
    pub(super) client: &'a Client,
    pub(super) form: &'a Form,
    pub(super) spool: Option<&'a Path>,
    pub(super) room: &'a Room,
    /// Where the body is kept for the next run, should this one die.
    pub(super) checkpoint: Option<Checkpoint>,
}

impl<'a> EventWindow<'a> {
    /// Reads the rows; see [`Session::read`](mixflow_core::source::Session::read).
    pub(super) fn read(self, cx: &'a UnitContext) -> Result<BatchIter<'a>> {
        let decoder = Decoder::new(self.form.clone()).with_stand_ins(cx.stand_ins());
        // A day without events has no bytes, which is known.
        cx.count_records(Some(&[]), &[]);
        match cx.delivery {
            Delivery::Direct => Ok(Box::new(DirectRows::new(
                self.client,
                self.request,
                self.label,
                decoder,
                self.room.clone(),
                cx,
            ))),
            Delivery::Verified => {
                let body = self.fetch(cx)?;
                let reader = body.into_reader().map_err(spool_error)?;
                Ok(Box::new(BodyRows {
                    lines: Lines::new(reader, self.room.clone()),
                    decoder,
                    label: self.label,
                    cx,
                    ended: false,
                }))
            }
        }
    }

    /// Fetches the body until it is whole.
    fn fetch(&self, cx: &UnitContext) -> Result<Body> {
        let place = match &self.checkpoint {
            Some(checkpoint) => {
                if let Some(file) = checkpoint.find() {
                    log::info!("{}: an earlier run has left it whole", self.label);
                    cx.notify(Notice::Reused {
                        label: self.label.to_owned(),
                    });
                    cx.note_body(BodyFacts {
                        fetched_at: file.written_at,
                        sha256: None,
                    });
                    return Ok(Body::of_file(file));
                }
                Retention::UntilCommit(checkpoint)
            }
            None => Retention::ThisRun(self.spool),
        };
        let mut earlier = None;
        Tries::new(&self.client.retry, cx, self.label).run(|| self.whole(place, &mut earlier, cx))
    }

    /// Makes a try to get a body that is known to be whole.
    ///
    /// One that nothing proves is asked for again; it is whole when two
    /// answers are the same. `earlier` is what the last one was, over all
    /// tries.
    fn whole(
        &self,
        place: Retention<'_>,
        earlier: &mut Option<Sum>,
        cx: &UnitContext,
    ) -> Result<Body, Failure> {
        loop {
            let fetched_at = clock::now();
            let body = self.ask(place, cx)?;
            let before = earlier.replace(body.sum());
            if body.is_proven() || before == Some(body.sum()) {
                cx.note_body(BodyFacts {
                    fetched_at,
                    sha256: None,
                });
                return body.settle().map_err(|error| self.cut(&error.to_string()));
            }
            if before.is_some() {
                return Err(self.cut(DIFFERENT_ENDS));
            }
            ask_twice(self.label, cx);
        }
    }

    /// Makes the request and keeps its answer.
    fn ask(&self, place: Retention<'_>, cx: &UnitContext) -> Result<Body, Failure> {
        let mut answer = self.client.send(&self.request, self.label, cx)?;
        let content = Content::Lines(self.room);
        let body = receive(&mut answer.wire, content, place, |bytes| {
            cx.count_bytes(bytes)
        });
        // After a cancel the end of a body may be of our own making.
        cx.cancel.check()?;
        body.map_err(|broken| match broken {
            BodyError::Truncated(reason) => self.cut(&reason),
            BodyError::Malformed(reason) => Failure::Final(no_export(self.client, reason)),
            BodyError::Io(error) => Failure::Final(spool_error(error)),
        })
    }

    fn cut(&self, reason: &str) -> Failure {
        // The reason may have words of the server in it.
        let reason = self.client.shown(reason.as_bytes());
        let what = self.client.what();
        Failure::again(incomplete(format!("{what} are incomplete")).because(reason))
    }
}

fn no_export(client: &Client, reason: String) -> Error {
    Error::new(
        ErrorKind::Data,
        format!("{} are not an export", client.what()),
    )
    .because(reason)
}

fn spool_error(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "cannot keep the export on disk")
        .with_source(error)
        .hint("free space for temporary files, or fetch smaller windows with `window_days`")
}

/// The rows of a body that is known to be whole.
struct BodyRows<'a> {
    lines: Lines<Box<dyn std::io::Read>>,
    decoder: Decoder,
    label: &'a str,
    cx: &'a UnitContext,
    ended: bool,
}

impl Iterator for BodyRows<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        while !self.ended && !self.decoder.is_full() {
            match self.lines.next() {
                Ok(Some(line)) => {
                    if let Err(reason) = self.decoder.push(line.bytes) {
                        let rejected = self.cx.reject(&Reject {
                            partition: self.label,
                            line: line.number,
                            reason: &reason,
                            record: line.bytes,
                        });
                        if let Err(error) = rejected {
                            self.ended = true;
                            return Some(Err(error));
                        }
                    }
                }
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    let cancelled = self.cx.cancel.check();
                    return Some(Err(cancelled.err().unwrap_or_else(|| spool_error(error))));
                }
            }
        }
        self.decoder.take_counted(self.cx).map(Ok)
    }
}
