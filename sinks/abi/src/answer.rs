//! How a call is answered: with a code, and with what went wrong.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mixflow_core::config::Invalid;
use mixflow_core::{Error, ErrorKind, Result};

use crate::numbers::number_of;
use crate::raw::{FAILED, Failure, IN_DOUBT, OK, Text};
use crate::wire::{InvalidDoc, write};

/// Runs `call`; what goes wrong, panics included, goes into `failure`.
///
/// # Safety
///
/// `failure` is null, or may be written to.
pub(crate) unsafe fn answer(
    failure: *mut Failure,
    what: &str,
    call: impl FnOnce() -> Result<()>,
) -> i32 {
    let filled = catch_unwind(AssertUnwindSafe(|| match call() {
        Ok(()) => Ok(()),
        // In here, because an author's `Display` may panic, too.
        Err(error) => Err(Failure::of(&error)),
    }));
    let filled = filled.unwrap_or_else(|payload| Err(Failure::of(&panicked(what, payload))));
    match filled {
        Ok(()) => OK,
        Err(reason) => {
            // SAFETY: by this function's contract.
            unsafe { tell(failure, reason) };
            FAILED
        }
    }
}

/// Tells the host why a call failed, if it wants to know.
///
/// # Safety
///
/// As for [`answer`].
pub(crate) unsafe fn tell(failure: *mut Failure, mut reason: Failure) {
    if failure.is_null() {
        // SAFETY: these texts were made here.
        unsafe {
            reason.message.take();
            reason.hint.take();
            reason.invalid.take();
        }
    } else {
        // SAFETY: by this function's contract. What was there is empty, so
        // nothing is lost by not dropping it.
        unsafe { failure.write(reason) };
    }
}

fn panicked(what: &str, payload: Box<dyn Any + Send>) -> Error {
    let error = Error::panicked(&format!("`{what}`"), &*payload);
    // Dropping it may panic, too, and so on; the second one is better lost
    // than the process.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    error
}

impl Failure {
    /// Returns what crosses of an error.
    pub fn of(error: &Error) -> Failure {
        let mut lines = vec![error.message().to_owned()];
        lines.extend(error.causes());
        let lines: Vec<String> = lines.iter().map(|line| line.replace('\n', " ")).collect();
        Failure {
            kind: number_of(error.kind()),
            flags: if error.is_in_doubt() { IN_DOUBT } else { 0 },
            message: Text::new(lines.join("\n")),
            hint: match error.hint_text() {
                Some(hint) => Text::new(hint.to_owned()),
                None => Text::empty(),
            },
            invalid: Text::empty(),
        }
    }

    /// Returns what crosses of options that are wrong.
    pub(crate) fn of_options(wrong: Vec<Invalid>) -> Failure {
        let wrong: Vec<InvalidDoc> = wrong
            .into_iter()
            .map(|Invalid { key, message }| InvalidDoc { key, message })
            .collect();
        Failure {
            invalid: Text::new(write(&wrong)),
            ..Failure::of(&Error::new(ErrorKind::Config, "the options are wrong"))
        }
    }
}

/// Runs what has no way to fail.
pub(crate) fn quietly(what: &str, call: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        let error = panicked(what, payload);
        log::error!("{error}: {}", error.causes().join(": "));
    }
}
