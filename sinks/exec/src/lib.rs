//! A program in any language as a sink.
//!
//! It is started with the first rows, reads them on its standard input and
//! answers by its exit code. `README.md` beside this crate has the protocol;
//! in short:
//!
//! 1. Rows come as an Arrow IPC stream, or as lines.
//! 2. When the program has read all of them, the file that `MIXFLOW_COMMIT`
//!    names appears, and only then the stream ends. A stream that ends without
//!    that file was cut off.
//! 3. Exit code 0 commits. Any other, or a signal, aborts.
//! 4. When the run aborts, the program is killed before its input is closed.
//!
//! The program runs in a process group of its own, so that Ctrl-C reaches it
//! only through us, and so that what it has started dies with it.

#![cfg(unix)]
#![forbid(unsafe_code)]

mod child;
mod form;
mod output;
mod permit;
mod program;
mod sink;
mod txn;

#[cfg(test)]
mod tests;

pub use form::ExecFormat;
pub use sink::{ExecOptions, ExecSink};

use mixflow_core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_core::sink::Sink;

/// What `mixflow components` shows of the sink.
pub const DOC: ComponentDoc = ComponentDoc {
    name: "exec",
    about: "a program in any language, which reads rows on stdin and commits with exit code 0",
    options: &[
        OptionDoc::new(
            "command",
            "list of texts, required",
            "the program and its arguments; no shell is in between",
        ),
        OptionDoc::new(
            "format",
            "arrow | jsonl | raw, default arrow",
            "an Arrow stream, our columns as lines, or the records as Mixpanel sent them",
        ),
        OptionDoc::new(
            "transactional",
            "true | false, default true",
            "whether nothing is visible before the program ends with exit code 0",
        ),
        OptionDoc::new(
            "timeout",
            "duration, default 5m",
            "how long it may read nothing, and how long it may take to end at commit",
        ),
        OptionDoc::new(
            "env",
            "table of texts",
            "variables for it; an empty text leaves one out, as `MIXPANEL_…` and those of secrets always are",
        ),
    ],
};

/// Adds the sink of this crate to `registry`.
pub fn register(registry: &mut Registry) {
    registry
        .add_sink(DOC, |options: ExecOptions, cx| {
            let sink = ExecSink::new(options)?.without_variables(cx.secret_variables.clone());
            Ok(Box::new(sink) as Box<dyn Sink>)
        })
        .takes::<ExecOptions>();
}
