//! Misbehaviour on request.

use std::time::Duration;

use jiff::civil::Date;

use super::log::Endpoint;

/// A rule: for which requests, how often, and what goes wrong.
///
/// A fault can be written as text and parsed; see [`Fault::parse`].
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The requests that it is for.
    pub when: Matcher,
    /// How many times it happens; `None` means always.
    pub times: Option<u32>,
    /// What goes wrong.
    pub action: Action,
}

impl Fault {
    /// Makes a fault that happens once, to the first request that matches.
    pub fn once(when: Matcher, action: Action) -> Self {
        Self {
            when,
            times: Some(1),
            action,
        }
    }

    /// Makes a fault that happens to each request that matches.
    pub fn always(when: Matcher, action: Action) -> Self {
        Self {
            when,
            times: None,
            action,
        }
    }
}

/// Selects requests. What is `None` matches everything; the rest must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// The endpoint.
    pub endpoint: Option<Endpoint>,
    /// The `from_date` of an export.
    pub from_date: Option<Date>,
    /// The page of an engage query; a request without one asks for page 0.
    pub page: Option<u64>,
    /// The number of the request, from 1, among those that reach the endpoint
    /// after the fault was added.
    pub nth: Option<u32>,
    /// How many matching requests are spared before the first fault.
    pub skip: u32,
}

impl Matcher {
    /// Matches every export.
    pub fn export() -> Self {
        Self {
            endpoint: Some(Endpoint::Export),
            ..Self::default()
        }
    }

    /// Matches the exports that begin at `date`.
    pub fn export_from(date: Date) -> Self {
        Self {
            from_date: Some(date),
            ..Self::export()
        }
    }

    /// Matches every engage request.
    pub fn engage() -> Self {
        Self {
            endpoint: Some(Endpoint::Engage),
            ..Self::default()
        }
    }

    /// Matches the engage requests for one page.
    pub fn engage_page(page: u64) -> Self {
        Self {
            page: Some(page),
            ..Self::engage()
        }
    }

    /// Matches only request number `nth` of the endpoint, from 1.
    pub fn nth(self, nth: u32) -> Self {
        Self {
            nth: Some(nth),
            ..self
        }
    }

    /// Spares the first `skip` matching requests.
    pub fn skip(self, skip: u32) -> Self {
        Self { skip, ..self }
    }
}

/// What goes wrong.
///
/// One request can meet one fault of each [layer](Layer), for instance a slow
/// first byte, then rows in another order, then a cut body.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Answers with a status instead of rows.
    Status {
        /// The status.
        code: u16,
        /// The text of `Retry-After`.
        retry_after: Option<String>,
        /// The body; by default a JSON error.
        body: Option<String>,
    },
    /// Waits before the first byte.
    SlowFirstByte(Duration),
    /// Waits after each part of the body.
    SlowBody {
        /// The size of a part.
        bytes_per_chunk: usize,
        /// The wait.
        pause: Duration,
    },
    /// Answers with a status and a place to ask instead.
    Redirect {
        /// The status: 301, 302, 303, 307 or 308.
        code: u16,
        /// The text of `Location`.
        location: String,
    },
    /// Answers with a status and a body that comes byte by byte.
    Drip {
        /// The status.
        code: u16,
        /// The wait after each byte.
        pause: Duration,
    },
    /// Closes the connection without an answer.
    Drop,
    /// Closes the connection within the body: HTTP says that it is incomplete.
    CutBody(Cut),
    /// Sends the body as HTTP/1.0 does: it ends where the connection ends.
    Unframed(Unframed),
    /// Sends a complete HTTP message whose content lacks its tail.
    CutClean(CleanCut),
    /// Flips a bit in the checksum of a gzip body.
    CorruptGzip,
    /// Ends an export with a line of plain text.
    TerminatedEarly {
        /// The number of rows before it.
        after_rows: usize,
        /// The line.
        text: String,
    },
    /// Ends an export with the line `{"error": …}`.
    ErrorLine {
        /// The number of rows before it.
        after_rows: usize,
    },
    /// Puts one more line into an export.
    BadLine {
        /// The number of rows before it.
        at_row: usize,
        /// The line.
        bytes: Vec<u8>,
    },
    /// Takes the `where` of an export, if there is one, for true or for false.
    Where(bool),
    /// Leaves out the last line feed of an export.
    NoFinalNewline,
    /// Ends the lines of an export with CR LF.
    Crlf,
    /// Begins an export with a byte order mark.
    Bom,
    /// Puts a blank line after each row of an export.
    BlankLines,
    /// Forgets the session that the request names, before it is answered.
    ExpireSession,
    /// Answers an engage request with 200 and `{"status": "error", …}`.
    ErrorIn200 {
        /// The message.
        message: String,
    },
    /// Answers an engage request with `"results": null`.
    NullResults,
    /// Answers an engage request with a page without profiles.
    EmptyPage,
    /// Answers an engage request with another page of the session.
    OtherPage {
        /// Whose profiles are sent.
        content: u64,
        /// Whether the answer says so; otherwise it passes for the page that
        /// was asked for.
        admitted: bool,
    },
    /// Leaves `page_size` out of an engage answer.
    NoPageSize,
    /// Answers 429 as Mixpanel does when the hour is used up.
    RateLimited {
        /// The requests that the project has in an hour.
        per_hour: u32,
        /// How many seconds the answer says that it takes until there is one.
        resets_in: u32,
    },
    /// Reverses the rows from the second answer to the same window or page on.
    DifferentOnRetry,
}

/// Where a body is cut, in bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// After this part of the body, from 0 to 1.
    Fraction(f64),
    /// After this number of bytes.
    Bytes(usize),
    /// After this number of bytes, if it has more: what asks for less gets it.
    Over(usize),
}

impl Cut {
    /// Returns how many of `length` bytes are sent, which is never all of them;
    /// `None` if the body is not cut.
    pub(super) fn position(self, length: usize) -> Option<usize> {
        let wanted = match self {
            Self::Fraction(part) => (length as f64 * part) as usize,
            Self::Bytes(bytes) => bytes,
            Self::Over(bytes) if length <= bytes => return None,
            Self::Over(bytes) => bytes,
        };
        Some(wanted.min(length.saturating_sub(1)))
    }
}

/// What a body lacks although HTTP says that it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanCut {
    /// The last eight bytes of the gzip stream: its checksum and length.
    GzipTrailer,
    /// The second half of the gzip stream.
    GzipMiddle,
    /// The second half of the last line; a gzip stream around it is sound.
    Line,
}

/// How a body ends that only the end of its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unframed {
    /// Whole and plain.
    Whole,
    /// Whole and gzipped, where the client wants that.
    Gzip,
    /// Plain, with a proper end after some of the lines, each time after others.
    Cut,
    /// Plain, with a reset after some of the lines.
    Reset,
    /// Plain, with a wait of a minute after some of the lines.
    Stall,
}

impl Unframed {
    /// Returns how much of a body is sent by answer number `n`.
    pub(super) fn position(self, body: &[u8], n: usize) -> Option<usize> {
        match self {
            Self::Whole | Self::Gzip => None,
            Self::Cut | Self::Reset | Self::Stall => {
                // Multiples of the golden section are never close together.
                let part = (n as f64 * 0.618_034).fract().mul_add(0.8, 0.1);
                let some = &body[..(body.len() as f64 * part) as usize];
                Some(memchr::memrchr(b'\n', some).map_or(0, |newline| newline + 1))
            }
        }
    }
}

/// When an action takes effect. For each layer the first fault that matches
/// a request is the one that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Before the answer.
    Delay,
    /// Instead of the answer; the layers below do not take part.
    Refusal,
    /// In the text of the answer, before compression.
    Text,
    /// On the wire, after compression.
    Wire,
}

impl Action {
    /// Returns the layer of the action.
    pub fn layer(&self) -> Layer {
        match self {
            Self::SlowFirstByte(_) => Layer::Delay,
            Self::Status { .. }
            | Self::RateLimited { .. }
            | Self::Redirect { .. }
            | Self::Drip { .. }
            | Self::Drop => Layer::Refusal,
            Self::CutClean(CleanCut::Line)
            | Self::TerminatedEarly { .. }
            | Self::ErrorLine { .. }
            | Self::BadLine { .. }
            | Self::Where(_)
            | Self::NoFinalNewline
            | Self::Crlf
            | Self::Bom
            | Self::BlankLines
            | Self::ExpireSession
            | Self::ErrorIn200 { .. }
            | Self::NullResults
            | Self::EmptyPage
            | Self::OtherPage { .. }
            | Self::NoPageSize
            | Self::DifferentOnRetry => Layer::Text,
            Self::CutClean(_)
            | Self::SlowBody { .. }
            | Self::CutBody(_)
            | Self::Unframed(_)
            | Self::CorruptGzip => Layer::Wire,
        }
    }

    /// Tells whether the action makes sense for an endpoint. A fault passes
    /// over the requests of the others.
    pub fn applies_to(&self, endpoint: Endpoint) -> bool {
        match self {
            Self::TerminatedEarly { .. }
            | Self::ErrorLine { .. }
            | Self::BadLine { .. }
            | Self::Where(_)
            | Self::NoFinalNewline
            | Self::Crlf
            | Self::Bom
            | Self::BlankLines => endpoint == Endpoint::Export,
            Self::ExpireSession
            | Self::ErrorIn200 { .. }
            | Self::NullResults
            | Self::EmptyPage
            | Self::OtherPage { .. }
            | Self::NoPageSize => endpoint == Endpoint::Engage,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_body_is_never_whole() {
        assert_eq!(Cut::Fraction(0.5).position(10), Some(5));
        assert_eq!(Cut::Fraction(1.0).position(10), Some(9));
        assert_eq!(Cut::Bytes(3).position(10), Some(3));
        assert_eq!(Cut::Bytes(300).position(10), Some(9));
        assert_eq!(Cut::Bytes(3).position(0), Some(0));
        assert_eq!(Cut::Over(9).position(10), Some(9));
        assert_eq!(Cut::Over(10).position(10), None);
        let body = b"a\n".repeat(100);
        let cuts: Vec<_> = (0..8).map(|n| Unframed::Cut.position(&body, n)).collect();
        let mut different = cuts.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), 8, "{cuts:?}");
        assert_eq!(Unframed::Reset.position(b"abcd\n", 1), Some(0));
        assert_eq!(Unframed::Whole.position(b"a\n", 1), None);
    }
}
