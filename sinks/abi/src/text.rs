//! Texts on both sides of the boundary.

use std::ffi::c_void;
use std::str::Utf8Error;

use crate::raw::{Str, Text};

/// What is taken of a text at most, in bytes. A library that says more is
/// wrong, and is not believed.
const MOST: usize = 16 << 20;

impl Str {
    /// Borrows `text`.
    pub const fn of(text: &str) -> Str {
        Str {
            ptr: text.as_ptr(),
            len: text.len(),
        }
    }

    /// Returns the text.
    ///
    /// # Safety
    ///
    /// `ptr` is null, or points to `len` bytes that stay as they are for `'s`.
    pub unsafe fn get<'s>(self) -> Result<&'s str, Utf8Error> {
        if self.ptr.is_null() || self.len == 0 {
            return Ok("");
        }
        // SAFETY: by this function's contract, and it is not null.
        let bytes = unsafe { std::slice::from_raw_parts(self.ptr, self.len) };
        std::str::from_utf8(bytes)
    }
}

impl Text {
    /// Gives a text away.
    pub fn new(text: String) -> Text {
        let text = Box::new(text);
        Text {
            ptr: text.as_ptr(),
            len: text.len(),
            owner: Box::into_raw(text).cast::<c_void>(),
            release: Some(release),
        }
    }

    /// Takes the text and releases it. What is not UTF-8 becomes `\u{fffd}`.
    ///
    /// # Safety
    ///
    /// `ptr` is null, or points to `len` bytes until `release` is called.
    pub unsafe fn take(&mut self) -> String {
        let text = if self.ptr.is_null() {
            String::new()
        } else {
            let len = self.len.min(MOST);
            // SAFETY: by this function's contract, and it is not null.
            let bytes = unsafe { std::slice::from_raw_parts(self.ptr, len) };
            String::from_utf8_lossy(bytes).into_owned()
        };
        if let Some(release) = self.release.take() {
            // SAFETY: called once, because it was taken out just now.
            unsafe { release(self) };
        }
        *self = Text::empty();
        text
    }
}

unsafe extern "C" fn release(text: *mut Text) {
    // SAFETY: the holder passes the text that `new` made, once.
    unsafe {
        let owner = (*text).owner.cast::<String>();
        (*text).owner = std::ptr::null_mut();
        if !owner.is_null() {
            drop(Box::from_raw(owner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_goes_over_and_is_released_once() {
        let mut text = Text::new("größer".to_owned());
        // SAFETY: `new` made it.
        assert_eq!(unsafe { text.take() }, "größer");
        // SAFETY: it is empty now.
        assert_eq!(unsafe { text.take() }, "");
    }

    #[test]
    fn a_text_that_is_not_utf8_or_never_released_is_taken_all_the_same() {
        static BYTES: [u8; 3] = *b"a\xffb";
        let mut text = Text {
            ptr: BYTES.as_ptr(),
            len: BYTES.len(),
            owner: std::ptr::null_mut(),
            release: None,
        };
        // SAFETY: the bytes are static.
        assert_eq!(unsafe { text.take() }, "a\u{fffd}b");
        let borrowed = Str {
            ptr: BYTES.as_ptr(),
            len: BYTES.len(),
        };
        // SAFETY: the bytes are static.
        assert!(unsafe { borrowed.get() }.is_err());
    }

    #[test]
    fn nothing_is_an_empty_text() {
        let nothing = Str {
            ptr: std::ptr::null(),
            len: 3,
        };
        // SAFETY: it is null.
        assert_eq!(unsafe { nothing.get() }, Ok(""));
    }
}
