//! One window of events: its body fetched until it is whole, and its rows.

use std::path::Path;

use mixflow_core::context::{Delivery, Notice, UnitContext, incomplete};
use mixflow_core::error::{Error, ErrorKind, Result};
use mixflow_core::ledger::BodyFacts;
use mixflow_core::source::BatchIter;
use mixflow_core::unit::Unit;
use serde_json::json;

use super::direct::{DIFFERENT_ENDS, DirectRows, ask_twice};
use super::reading::Reading;
use super::rows::{BodyRows, spool_error};
use crate::decode::{Decoder, Form};
use crate::http::body::{Body, receive};
use crate::http::checkpoint::Checkpoint;
use crate::http::client::{Client, Request};
use crate::http::retry::{Failure, Tries};
use crate::http::room::Room;
use crate::http::store::Retention;
use crate::http::sum::Sum;
use crate::http::tail::{BodyError, Content};
use crate::keeper::Keeper;

/// One window of days.
pub(super) struct EventWindow<'a> {
    pub(super) unit: &'a Unit,
    pub(super) request: Request,
    pub(super) client: &'a Client,
    pub(super) form: &'a Form,
    pub(super) spool: Option<&'a Path>,
    pub(super) room: &'a Room,
    /// Where the body is kept for the next run, should this one die.
    pub(super) checkpoint: Option<Checkpoint>,
    /// Where the body is kept for good.
    pub(super) keeper: Option<&'a Keeper>,
    pub(super) reading: Reading,
}

impl<'a> EventWindow<'a> {
    /// Reads the rows; see [`Session::read`](mixflow_core::source::Session::read).
    pub(super) fn read(self, cx: &'a UnitContext) -> Result<BatchIter<'a>> {
        let decoder = Decoder::new(self.form.clone()).with_stand_ins(cx.stand_ins());
        // A day without events has no bytes, which is known.
        cx.count_records(Some(&[]), &[]);
        let (label, room) = (&self.unit.label, self.room.clone());
        // What is to be kept must be whole first.
        if cx.delivery == Delivery::Direct && self.keeper.is_none() {
            let (client, request) = (self.client, self.request);
            let rows = DirectRows::new(client, request, label, decoder, room, cx);
            return Ok(Box::new(rows));
        }
        let mut body = self.fetch(cx)?;
        let facts = body.facts().map_err(spool_error)?;
        cx.note_body(BodyFacts {
            fetched_at: body.asked_at(),
            sha256: Some(facts.decoded.sha256.to_string()),
        });
        if let Some(keeper) = &self.keeper {
            keeper.keep(self.unit, json!(self.reading), &mut body)?;
        }
        let reader = body.into_reader().map_err(spool_error)?;
        Ok(Box::new(BodyRows::new(reader, room, decoder, label, cx)))
    }

    /// Fetches the body until it is whole.
    fn fetch(&self, cx: &UnitContext) -> Result<Body> {
        let place = match &self.checkpoint {
            Some(checkpoint) => {
                if let Some(file) = checkpoint.find() {
                    log::info!("{}: an earlier run has left it whole", self.unit.label);
                    cx.notify(Notice::Reused {
                        label: self.unit.label.clone(),
                    });
                    return Ok(Body::of_file(file));
                }
                Retention::UntilCommit(checkpoint)
            }
            None => Retention::ThisRun(self.spool),
        };
        let mut earlier = None;
        Tries::new(&self.client.retry, cx, &self.unit.label)
            .run(|| self.whole(place, &mut earlier, cx))
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
            let body = self.ask(place, cx)?;
            let before = earlier.replace(body.sum());
            if body.is_proven() || before == Some(body.sum()) {
                return body.settle().map_err(|error| self.cut(&error.to_string()));
            }
            if before.is_some() {
                return Err(self.cut(DIFFERENT_ENDS));
            }
            ask_twice(&self.unit.label, cx);
        }
    }

    /// Makes the request and keeps its answer.
    fn ask(&self, place: Retention<'_>, cx: &UnitContext) -> Result<Body, Failure> {
        let mut answer = self.client.send(&self.request, &self.unit.label, cx)?;
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
