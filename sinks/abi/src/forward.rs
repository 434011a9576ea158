//! From the `log` of a library to the log of the host.

use std::sync::Once;

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::raw::{Host, Str};

/// A logger that passes lines on.
struct Forward {
    log: unsafe extern "C" fn(u32, Str, Str),
    /// The crate of the author, whose lines are shown with `-v`. Those of what
    /// it depends on, such as an HTTP client, are shown if `RUST_LOG` names them.
    own: &'static str,
    shown: String,
}

impl Log for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let text = record.args().to_string();
            let target = match record.target().strip_prefix(self.own) {
                Some(rest) if rest.is_empty() || rest.starts_with("::") => &self.shown,
                _ => record.target(),
            };
            // SAFETY: the host's function may be called from any thread at any
            // time; both texts outlive the call.
            unsafe { (self.log)(number(record.level()), Str::of(target), Str::of(&text)) };
        }
    }

    fn flush(&self) {}
}

fn number(level: Level) -> u32 {
    match level {
        Level::Error => 1,
        Level::Warn => 2,
        Level::Info => 3,
        Level::Debug => 4,
        Level::Trace => 5,
    }
}

/// Makes `host` the place that this library logs to, the first time.
///
/// Lines of the crate `own` are logged as `mixflow_plugin::{name}`.
///
/// # Safety
///
/// `host` is null, or points to a [`Host`] that stays for the life of the
/// process; it may be shorter than ours, as its `size` says.
pub(crate) unsafe fn install(host: *const Host, own: &'static str, name: &str) {
    static ONCE: Once = Once::new();
    // SAFETY: by this function's contract; `size` is the first field.
    if host.is_null() || unsafe { (&raw const (*host).size).read() } < size_of::<Host>() {
        return;
    }
    // SAFETY: it is as long as ours.
    let host = unsafe { *host };
    let Some(log) = host.log else { return };
    ONCE.call_once(|| {
        // Compiled in, there is a logger already, and it is the right one.
        let shown = format!("mixflow_plugin::{name}");
        if log::set_boxed_logger(Box::new(Forward { log, own, shown })).is_ok() {
            let level = LevelFilter::iter().nth(host.log_level as usize);
            log::set_max_level(level.unwrap_or(LevelFilter::Info));
        }
    });
}
