//! A run's token, as a library may ask it.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mixflow_core::cancel::CancelToken;
use mixflow_sink_abi::raw::Cancel;

/// Returns the token for a library, which releases it.
pub(crate) fn lend(token: &CancelToken) -> Cancel {
    Cancel {
        size: size_of::<Cancel>(),
        token: Box::into_raw(Box::new(token.clone()))
            .cast_const()
            .cast::<c_void>(),
        wait: Some(wait),
        release: Some(release),
    }
}

/// # Safety
///
/// `token` is one of [`lend`] that was not released.
unsafe extern "C" fn wait(token: *const c_void, milliseconds: u32) -> u32 {
    // A panic must not get out into the library.
    let waited = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: by this function's contract.
        let token = unsafe { &*token.cast::<CancelToken>() };
        match milliseconds {
            0 => token.is_cancelled(),
            more => token.wait(Duration::from_millis(more.into())).is_err(),
        }
    }));
    match waited {
        Ok(is_cancelled) => is_cancelled.into(),
        Err(payload) => {
            // Dropping it may panic, too.
            std::mem::forget(payload);
            1
        }
    }
}

/// # Safety
///
/// As for [`wait`]; the token is used for the last time.
unsafe extern "C" fn release(token: *const c_void) {
    // SAFETY: by this function's contract it is a box of `lend`.
    drop(unsafe { Box::from_raw(token.cast::<CancelToken>().cast_mut()) });
}
