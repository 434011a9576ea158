//! The rows of a window, when its body is whole or as they arrive.

use mixflow_core::context::{Delivery, UnitContext};
use mixflow_core::error::Result;
use mixflow_core::ledger::BodyFacts;
use mixflow_core::source::BatchIter;
use serde_json::json;

use super::direct::DirectRows;
use super::part::Part;
use super::parts::Parts;
use super::rows::BodyRows;
use super::window::{EventWindow, spool_error};
use crate::http::lines::Lines;

/// Reads the rows; see [`Session::read`](mixflow_core::source::Session::read).
pub(super) fn read<'a>(window: EventWindow<'a>, cx: &'a UnitContext) -> Result<BatchIter<'a>> {
    // A day without events has no bytes, which is known.
    cx.count_records(Some(&[]), &[]);
    let (label, room) = (&window.unit.label, window.room.clone());
    let decoder = window.decoder.another();
    // What is to be kept must be whole first.
    if cx.delivery == Delivery::Direct && window.keeper.is_none() {
        let request = window.request(&Part::all(window.days));
        let client = window.client;
        let rows = DirectRows::new(client, request, label, decoder, room, cx);
        return Ok(Box::new(rows));
    }
    let (mut body, ahead) = Parts::fetch(&window, cx)?;
    let came = body.wire().map_err(spool_error)?;
    cx.note_body(BodyFacts {
        fetched_at: body.asked_at(),
        sha256: Some(came.sha256.to_string()),
    });
    if let Some(keeper) = window.keeper {
        keeper.keep(window.unit, json!(window.reading), &mut body)?;
    }
    let reader = body.into_reader().map_err(spool_error)?;
    let lines = match &ahead {
        Some(ahead) => ahead.lines_after(reader, room),
        None => Lines::new(reader, room),
    };
    let rows = BodyRows::new(lines, decoder, label, cx);
    Ok(Box::new(rows.after(ahead)))
}
