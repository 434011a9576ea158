//! What this process lends to libraries.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use log::{Level, LevelFilter, Record};
use mixflow_sink_abi::raw::{Host, Str};

/// Returns what libraries are lent. It stays for the life of the process, so
/// that a library may log at any time, from any thread.
pub(crate) fn lent() -> &'static Host {
    static LENT: OnceLock<Host> = OnceLock::new();
    LENT.get_or_init(|| Host {
        size: size_of::<Host>(),
        log_level: match log::max_level() {
            LevelFilter::Off => 0,
            LevelFilter::Error => 1,
            LevelFilter::Warn => 2,
            LevelFilter::Info => 3,
            LevelFilter::Debug => 4,
            LevelFilter::Trace => 5,
        },
        log: Some(log_line),
    })
}

/// Logs a line of a library's.
///
/// # Safety
///
/// Both texts are valid for the call.
unsafe extern "C" fn log_line(level: u32, target: Str, text: Str) {
    // A panic must not get out into the library.
    let logged = catch_unwind(AssertUnwindSafe(|| {
        let level = match level {
            0 | 1 => Level::Error,
            2 => Level::Warn,
            3 => Level::Info,
            4 => Level::Debug,
            _ => Level::Trace,
        };
        // SAFETY: by this function's contract.
        let (target, text) = unsafe { (target.get(), text.get()) };
        let target = target.unwrap_or("plugin");
        let text = text.unwrap_or("(a line that is not UTF-8)");
        if level <= log::max_level() {
            let logger = log::logger();
            let mut record = Record::builder();
            record.level(level).target(target);
            logger.log(&record.args(format_args!("{text}")).build());
        }
    }));
    if let Err(payload) = logged {
        // Dropping it may panic, too.
        std::mem::forget(payload);
    }
}
