//! What a mixflow sink that is loaded from a library is built with.
//!
//! An author implements [`Sink`](mixflow_core::sink::Sink), as for a sink that
//! is compiled in, makes the crate a `cdylib`, and adds one line:
//!
//! ```
//! # use mixflow_sink_abi::core::{config::Invalid, sink::*, Result};
//! # #[derive(serde::Deserialize)]
//! # struct Config {}
//! # struct MySink(Config);
//! # impl MySink { fn new(config: Config) -> Result<MySink, Vec<Invalid>> { Ok(MySink(config)) } }
//! # impl Sink for MySink {
//! #     fn capabilities(&self) -> Capabilities { unreachable!() }
//! #     fn destination(&self, _: &DataKind) -> Destination { unreachable!() }
//! #     fn check_schema(&self, _: &arrow::datatypes::Schema) -> Result<()> { unreachable!() }
//! #     fn preview(&self, _: &TxnContext) -> Result<Preview> { unreachable!() }
//! #     fn begin(&self, _: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> { unreachable!() }
//! # }
//! # use mixflow_sink_abi::arrow;
//! mixflow_sink_abi::export_sink!("my_sink", Config, MySink::new);
//! ```
//!
//! `Config` is read from the pipeline's `options`; `MySink::new` takes it and
//! returns a sink, or what is wrong with which option. The guide is the README
//! of this crate, and `sinks/example` is a whole sink.
//!
//! Without the feature `author` there is only [`raw`], the boundary as C sees
//! it, and no dependency.

pub mod raw;

#[cfg(feature = "author")]
mod answer;
#[cfg(feature = "author")]
mod cancel;
#[cfg(feature = "author")]
pub mod export;
#[cfg(feature = "author")]
mod forward;
#[cfg(feature = "author")]
mod lent;
#[cfg(feature = "author")]
pub mod numbers;
#[cfg(feature = "author")]
mod options;
#[cfg(feature = "author")]
mod shape;
#[cfg(feature = "author")]
mod text;
#[cfg(feature = "author")]
pub mod wire;

#[cfg(feature = "author")]
pub use arrow;
#[cfg(feature = "author")]
pub use log;
#[cfg(feature = "author")]
pub use mixflow_core as core;

/// Makes a library loadable as a sink: its name, the type of its options, and
/// what makes a sink of them.
///
/// The constructor is `fn(Config) -> Result<S, Vec<Invalid>>` with `S: Sink`.
/// It makes no I/O: `mixflow check` calls it.
///
/// A fourth argument says what the options are, a `&'static [OptionDoc]` of
/// `core::registry`, which `mixflow components --library` shows.
///
/// One crate exports one sink, and a binary links at most one such crate: the
/// symbols have fixed names. A crate that is to be compiled in as well puts
/// this line behind a feature that is on by default, as `sinks/example` does.
#[cfg(feature = "author")]
#[macro_export]
macro_rules! export_sink {
    ($name:literal, $config:ty, $new:expr $(,)?) => {
        $crate::export_sink!(@ $name, $config, $new, ::std::option::Option::None);
    };
    ($name:literal, $config:ty, $new:expr, $options:expr $(,)?) => {
        $crate::export_sink!(@ $name, $config, $new, ::std::option::Option::Some($options));
    };
    (@ $name:literal, $config:ty, $new:expr, $options:expr) => {
        #[allow(unsafe_code, non_upper_case_globals, unreachable_pub, missing_docs)]
        const _: () = {
            struct Exported;

            impl $crate::export::Plugin for Exported {
                const NAME: &'static str = $name;
                const CRATE: &'static str = ::std::env!("CARGO_CRATE_NAME");
                const OPTIONS: ::std::option::Option<
                    &'static [$crate::core::registry::OptionDoc],
                > = $options;
                type Config = $config;

                fn make(
                    config: $config,
                ) -> ::std::result::Result<
                    ::std::boxed::Box<dyn $crate::core::sink::Sink>,
                    ::std::vec::Vec<$crate::core::config::Invalid>,
                > {
                    let make = $new;
                    make(config).map(|sink| {
                        ::std::boxed::Box::new(sink)
                            as ::std::boxed::Box<dyn $crate::core::sink::Sink>
                    })
                }
            }

            #[unsafe(no_mangle)]
            pub static mixflow_sink_abi_version: $crate::raw::Version = $crate::raw::VERSION;

            #[unsafe(no_mangle)]
            pub extern "C" fn mixflow_sink_table() -> *const $crate::raw::Table {
                static TABLE: $crate::raw::Table = $crate::export::table::<Exported>();
                &TABLE
            }
        };
    };
}
