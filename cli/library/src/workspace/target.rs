//! Sinks of a request, other than the store.

use mixflow_core::config::Invalid;
use mixflow_core::registry::BuildContext;
use mixflow_core::sink::Sink;
#[cfg(feature = "lake")]
use mixflow_sink_delta::{DeltaOptions, DeltaSink};
use mixflow_sink_duckdb::{DuckdbOptions, DuckdbSink};
use mixflow_sink_dynamic::{PluginOptions, PluginSink};
#[cfg(unix)]
use mixflow_sink_exec::{ExecOptions, ExecSink};
use mixflow_sink_jsonl::{JsonlOptions, JsonlSink};
use mixflow_sink_parquet::ParquetOptions;

type Built = Result<Box<dyn Sink>, Vec<Invalid>>;

/// Where rows go: made of the options of one of mixflow's sinks, such as
/// [`ParquetOptions`](crate::sinks::ParquetOptions), or of any other sink.
pub struct Target {
    kind: &'static str,
    build: Box<dyn FnOnce(&BuildContext) -> Built + Send>,
}

impl Target {
    /// Takes a sink; `kind` is what reports call it.
    pub fn new(kind: &'static str, sink: impl Sink + Send + 'static) -> Target {
        Target::built(kind, move |_| Ok(Box::new(sink)))
    }

    /// Takes what makes a sink, which checks options and makes no I/O. It is
    /// called in the thread of the run, so the sink need not be `Send`.
    pub fn built<F>(kind: &'static str, build: F) -> Target
    where
        F: FnOnce(&BuildContext) -> Result<Box<dyn Sink>, Vec<Invalid>> + Send + 'static,
    {
        Target {
            kind,
            build: Box::new(build),
        }
    }

    pub(super) fn build(self, cx: &BuildContext) -> Result<(String, Box<dyn Sink>), Vec<Invalid>> {
        Ok((self.kind.to_owned(), (self.build)(cx)?))
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Target").field(&self.kind).finish()
    }
}

/// Makes a target of options: `Options => "kind", |options, cx| …`.
macro_rules! target_of {
    ($($(#[$when:meta])* $options:ty => $kind:literal, $build:expr;)*) => {$(
        $(#[$when])*
        impl From<$options> for Target {
            fn from(options: $options) -> Target {
                let build: fn($options, &BuildContext) -> Built = $build;
                Target::built($kind, move |cx| build(options, cx))
            }
        }
    )*};
}

target_of! {
    DuckdbOptions => "duckdb", |options, cx| Ok(Box::new(DuckdbSink::new(options, cx)?));
    ParquetOptions => "parquet", mixflow_sink_parquet::build;
    #[cfg(feature = "lake")]
    DeltaOptions => "delta", |options, cx| {
        Ok(Box::new(DeltaSink::new(options, cx.home.as_deref())?))
    };
    JsonlOptions => "jsonl", |mut options, cx| {
        let path = options.path.map(|path| cx.local_path("path", &path));
        options.path = path.transpose()?;
        Ok(Box::new(JsonlSink::new(options)?))
    };
    #[cfg(unix)]
    ExecOptions => "exec", |options, _| Ok(Box::new(ExecSink::new(options)?));
    PluginOptions => "plugin", |mut options, cx| {
        options.library = cx.local_path("library", &options.library)?;
        Ok(Box::new(PluginSink::new(options)?))
    };
}
