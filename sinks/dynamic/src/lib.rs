//! Sinks that are loaded from libraries: `type = "plugin"`.
//!
//! A library speaks the C boundary of [`mixflow_sink_abi::raw`]; to the engine
//! a sink of one is like any other. A library is trusted to be a sink, as much
//! as a compiled-in one: it runs in this process. What can be checked without
//! trust is, before it is used.

mod cancel;
mod host;
mod library;
mod options;
mod sink;

pub use library::Library;
pub use mixflow_sink_abi::wire::TakenDoc;
pub use sink::{PluginOptions, PluginSink};

use mixflow_core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_core::sink::Sink;

/// What `mixflow components` shows of the sink.
pub const DOC: ComponentDoc = ComponentDoc {
    name: "plugin",
    about: "a sink that somebody else wrote, loaded from a library",
    options: &[
        OptionDoc::new(
            "library",
            "file",
            "the library: `libmine.so`, `libmine.dylib` or `mine.dll`",
        ),
        OptionDoc::new("options", "table, default empty", "what the sink takes"),
    ],
};

/// Adds the sink of this crate to `registry`.
pub fn register(registry: &mut Registry) {
    registry
        .add_sink(DOC, |mut options: PluginOptions, cx| {
            options.library = cx.local_path("library", &options.library)?;
            PluginSink::new(options).map(|sink| Box::new(sink) as Box<dyn Sink>)
        })
        .takes::<PluginOptions>();
}
