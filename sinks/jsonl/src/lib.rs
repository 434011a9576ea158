//! JSON Lines: one object a line, on standard output or in a file.
//!
//! Standard output shows every batch at once, so it is not transactional: the
//! report of a failed run says how many rows went out. A file is written
//! beside its target and renamed at commit.

#![forbid(unsafe_code)]

#[cfg(test)]
mod conformance;
mod count;
mod encode;
mod gzip;
mod sink;
mod txn;

pub use encode::Encoder;
pub use sink::{JsonlFormat, JsonlOptions, JsonlSink};

use mixflow_core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_core::sink::Sink;

/// What `mixflow components` shows of the sink.
pub const DOC: ComponentDoc = ComponentDoc {
    name: "jsonl",
    about: "JSON Lines on standard output or in a file",
    options: &[
        OptionDoc::new(
            "path",
            "file, default standard output",
            "where to write; gzipped if it ends in .gz",
        ),
        OptionDoc::new(
            "format",
            "normalized | raw, default normalized",
            "our columns, or the records as Mixpanel sent them",
        ),
        OptionDoc::new(
            "mode",
            "create | append | replace, default create",
            "what happens to a file that is there",
        ),
        OptionDoc::new(
            "allow_shrink",
            "true | false, default false",
            "whether replace may leave less than half of the lines, or none",
        ),
    ],
};

/// Adds the sink of this crate to `registry`.
pub fn register(registry: &mut Registry) {
    registry
        .add_sink(DOC, |mut options: JsonlOptions, cx| {
            let path = options.path.map(|path| cx.local_path("path", &path));
            options.path = path.transpose()?;
            JsonlSink::new(options).map(|sink| Box::new(sink) as Box<dyn Sink>)
        })
        .takes::<JsonlOptions>();
}
