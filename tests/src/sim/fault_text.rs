//! Faults as text: one rule a line.
//!
//! ```text
//! rule   = endpoint part*
//! endpoint = "export" | "engage" | "any"
//! part   = from=DATE | page=N | nth=N | skip=N | times=N | always | action
//! ```
//!
//! Without `times` or `always` a rule happens once. Values with spaces stand
//! in double quotes, where `\"`, `\\`, `\n` and `\xNN` are understood.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

use super::fault::{Action, CleanCut, Cut, Fault, Matcher, Unframed};
use super::log::Endpoint;

/// The reason why a rule cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultError {
    rule: String,
    reason: String,
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read the fault `{}`: {}", self.rule, self.reason)
    }
}

impl std::error::Error for FaultError {}

impl Fault {
    /// Parses one rule.
    ///
    /// | action | what goes wrong |
    /// |---|---|
    /// | `status=503` with `retry_after=1`, `body="…"` | a status instead of rows |
    /// | `slow_first_byte=200ms` | a wait before the answer |
    /// | `slow_body=1000/50ms` | a wait after each 1,000 bytes |
    /// | `redirect=302` with `location="…"` | another address instead of rows |
    /// | `drip=500/50ms` | a status whose body comes byte by byte |
    /// | `drop` | no answer |
    /// | `unframed=whole`, `=gzip`, `=cut`, `=reset`, `=stall` | a body that only the connection's end ends |
    /// | `cut=0.5`, `cut=1000b` | the connection closes within the body |
    /// | `cut_over=1000` | it closes after 1,000 bytes of a body that has more |
    /// | `cut_clean=trailer`, `=middle`, `=line` | content without its tail |
    /// | `corrupt_gzip` | a wrong checksum |
    /// | `terminated_early=100` with `text="…"` | plain text as the last line |
    /// | `error_line=100` | `{"error": …}` as the last line |
    /// | `bad_line=3` with `bytes="…"` | one more line |
    /// | `where=true`, `where=false` | a condition that is not looked at |
    /// | `no_final_newline`, `crlf`, `bom`, `blank_lines` | other line ends |
    /// | `expire_session`, `null_results`, `empty_page` | engage only |
    /// | `other_page=1`, `repeated_page=1` | page 1 instead of the page that was asked for, saying so or not |
    /// | `no_page_size` | engage only |
    /// | `rate_limited=60/3600` | 429: 60 requests an hour, and the next one in 3,600 seconds |
    /// | `error_in_200` with `message="…"` | engage only |
    /// | `different_on_retry` | another order of rows the second time |
    pub fn parse(rule: &str) -> Result<Self, FaultError> {
        parse(rule).map_err(|reason| FaultError {
            rule: rule.trim().to_owned(),
            reason,
        })
    }

    /// Parses a script: one rule a line, `#` begins a comment line.
    pub fn parse_script(text: &str) -> Result<Vec<Self>, FaultError> {
        let rules = text.lines().map(str::trim);
        let rules = rules.filter(|rule| !rule.is_empty() && !rule.starts_with('#'));
        rules.map(Self::parse).collect()
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(rule: &str) -> Result<Self, FaultError> {
        Self::parse(rule)
    }
}

/// A word of a rule, `key` or `key=value`.
struct Part {
    key: String,
    value: Option<String>,
}

fn parse(rule: &str) -> Result<Fault, String> {
    let mut parts = split(rule)?.into_iter();
    let endpoint = match parts.next().map(|part| part.key).as_deref() {
        Some("export") => Some(Endpoint::Export),
        Some("engage") => Some(Endpoint::Engage),
        Some("any") => None,
        _ => return Err("it begins with `export`, `engage` or `any`".to_owned()),
    };
    let mut when = Matcher {
        endpoint,
        ..Matcher::default()
    };
    let mut times = Some(1);
    let mut action = None;
    let mut details = Vec::new();
    for part in parts {
        match part.key.as_str() {
            "from" => when.from_date = Some(part.parsed("a date")?),
            "page" => when.page = Some(part.parsed("a number")?),
            "nth" => when.nth = Some(part.parsed("a number")?),
            "skip" => when.skip = part.parsed("a number")?,
            "times" => times = Some(part.parsed("a number")?),
            "always" => times = None,
            "retry_after" | "body" | "text" | "bytes" | "message" | "location" => {
                details.push(part);
            }
            _ if action.is_some() => return Err(format!("`{}` is a second action", part.key)),
            _ => action = Some((part.action()?, part.key)),
        }
    }
    let (mut action, name) = action.ok_or("it has no action")?;
    for detail in details {
        detail.refine(&mut action, &name)?;
    }
    if endpoint.is_some_and(|endpoint| !action.applies_to(endpoint)) {
        return Err(format!("`{name}` does not apply to this endpoint"));
    }
    Ok(Fault {
        when,
        times,
        action,
    })
}

impl Part {
    fn value(&self) -> Result<&str, String> {
        let value = self.value.as_deref();
        value.ok_or_else(|| format!("`{}` needs a value", self.key))
    }

    fn parsed<T: FromStr>(&self, what: &str) -> Result<T, String> {
        let value = self.value()?;
        let parsed = value.parse();
        parsed.map_err(|_| format!("`{}` needs {what}, not `{value}`", self.key))
    }

    fn action(&self) -> Result<Action, String> {
        let rows = || self.parsed("a number of rows");
        Ok(match self.key.as_str() {
            "status" => Action::Status {
                code: self.parsed("a status")?,
                retry_after: None,
                body: None,
            },
            "slow_first_byte" => Action::SlowFirstByte(duration(self.value()?)?),
            "slow_body" => {
                let form = "`slow_body` needs bytes and a pause such as `1000/50ms`";
                let (bytes, pause) = self.value()?.split_once('/').ok_or(form)?;
                Action::SlowBody {
                    bytes_per_chunk: bytes.parse().ok().filter(|&n| n > 0).ok_or(form)?,
                    pause: duration(pause)?,
                }
            }
            "redirect" => Action::Redirect {
                code: self.parsed("a status")?,
                location: String::new(),
            },
            "drip" => {
                let form = "`drip` needs a status and a pause such as `500/50ms`";
                let (code, pause) = self.value()?.split_once('/').ok_or(form)?;
                Action::Drip {
                    code: code.parse().map_err(|_| form)?,
                    pause: duration(pause)?,
                }
            }
            "drop" => Action::Drop,
            "unframed" => Action::Unframed(match self.value()? {
                "whole" => Unframed::Whole,
                "gzip" => Unframed::Gzip,
                "cut" => Unframed::Cut,
                "reset" => Unframed::Reset,
                "stall" => Unframed::Stall,
                _ => {
                    return Err(
                        "`unframed` is `whole`, `gzip`, `cut`, `reset` or `stall`".to_owned()
                    );
                }
            }),
            "cut" => Action::CutBody(cut(self.value()?)?),
            "cut_over" => Action::CutBody(Cut::Over(self.parsed("a number of bytes")?)),
            "cut_clean" => Action::CutClean(match self.value()? {
                "trailer" => CleanCut::GzipTrailer,
                "middle" => CleanCut::GzipMiddle,
                "line" => CleanCut::Line,
                _ => return Err("`cut_clean` is `trailer`, `middle` or `line`".to_owned()),
            }),
            "corrupt_gzip" => Action::CorruptGzip,
            "terminated_early" => Action::TerminatedEarly {
                after_rows: rows()?,
                text: "export terminated early".to_owned(),
            },
            "error_line" => Action::ErrorLine {
                after_rows: rows()?,
            },
            "bad_line" => Action::BadLine {
                at_row: rows()?,
                bytes: b"{\"event\": \"bad".to_vec(),
            },
            "where" => Action::Where(self.parsed("`true` or `false`")?),
            "no_final_newline" => Action::NoFinalNewline,
            "crlf" => Action::Crlf,
            "bom" => Action::Bom,
            "blank_lines" => Action::BlankLines,
            "expire_session" => Action::ExpireSession,
            "error_in_200" => Action::ErrorIn200 {
                message: "internal error".to_owned(),
            },
            "null_results" => Action::NullResults,
            "empty_page" => Action::EmptyPage,
            "other_page" | "repeated_page" => Action::OtherPage {
                content: self.parsed("a page")?,
                admitted: self.key == "other_page",
            },
            "no_page_size" => Action::NoPageSize,
            "rate_limited" => {
                let form = "`rate_limited` needs requests and seconds such as `60/3600`";
                let (per_hour, resets_in) = self.value()?.split_once('/').ok_or(form)?;
                Action::RateLimited {
                    per_hour: per_hour.parse().map_err(|_| form)?,
                    resets_in: resets_in.parse().map_err(|_| form)?,
                }
            }
            "different_on_retry" => Action::DifferentOnRetry,
            other => return Err(format!("`{other}` is neither a condition nor an action")),
        })
    }

    /// Puts a detail such as `body=…` into the action that it belongs to.
    fn refine(&self, action: &mut Action, name: &str) -> Result<(), String> {
        let value = self.value()?.to_owned();
        match (self.key.as_str(), action) {
            ("retry_after", Action::Status { retry_after, .. }) => *retry_after = Some(value),
            ("body", Action::Status { body, .. }) => *body = Some(value),
            ("location", Action::Redirect { location, .. }) => *location = value,
            ("text", Action::TerminatedEarly { text, .. }) => *text = value,
            ("message", Action::ErrorIn200 { message }) => *message = value,
            ("bytes", Action::BadLine { bytes, .. }) => *bytes = unescaped_bytes(&value)?,
            (key, _) => return Err(format!("`{key}` does not belong to `{name}`")),
        }
        Ok(())
    }
}

/// Splits a rule at white space outside quotes.
///
/// `\x` escapes stay for [`unescaped_bytes`], because they need not be UTF-8.
fn split(rule: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut chars = rule.trim().chars().peekable();
    while chars.peek().is_some() {
        let mut key = String::new();
        let mut value = None::<String>;
        let mut is_quoted = false;
        while let Some(c) = chars.next() {
            match c {
                _ if c.is_whitespace() && !is_quoted => break,
                '"' => is_quoted = !is_quoted,
                '=' if value.is_none() => value = Some(String::new()),
                '\\' if is_quoted && chars.peek() != Some(&'x') => {
                    let escaped = chars.next().map(|c| if c == 'n' { '\n' } else { c });
                    value.as_mut().unwrap_or(&mut key).extend(escaped);
                }
                _ => value.as_mut().unwrap_or(&mut key).push(c),
            }
        }
        if is_quoted {
            return Err("a quote is not closed".to_owned());
        }
        if !key.is_empty() || value.is_some() {
            parts.push(Part { key, value });
        }
    }
    Ok(parts)
}

fn unescaped_bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2);
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or("`\\x` needs two hexadecimal digits")?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Ok(bytes)
}

/// Parses a duration such as `200ms` or `2s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let error = || format!("`{text}` is not a duration such as `200ms` or `2s`");
    let parsed: SignedDuration = text.parse().map_err(|_| error())?;
    Duration::try_from(parsed).map_err(|_| error())
}

fn cut(text: &str) -> Result<Cut, String> {
    let error = || "`cut` needs a part such as `0.5` or a size such as `1000b`".to_owned();
    if let Some(bytes) = text.strip_suffix('b') {
        return bytes.parse().map(Cut::Bytes).map_err(|_| error());
    }
    let part: f64 = text.parse().map_err(|_| error())?;
    let in_range = (0.0..=1.0).contains(&part);
    in_range.then_some(Cut::Fraction(part)).ok_or_else(error)
}

impl fmt::Display for Fault {
    /// Writes the rule as it can be parsed again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.when.endpoint.map_or("any", Endpoint::name))?;
        if let Some(date) = self.when.from_date {
            write!(f, " from={date}")?;
        }
        if let Some(page) = self.when.page {
            write!(f, " page={page}")?;
        }
        if let Some(nth) = self.when.nth {
            write!(f, " nth={nth}")?;
        }
        if self.when.skip > 0 {
            write!(f, " skip={}", self.when.skip)?;
        }
        match self.times {
            None => f.write_str(" always")?,
            Some(1) => {}
            Some(times) => write!(f, " times={times}")?,
        }
        write!(f, " {}", self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status {
                code,
                retry_after,
                body,
            } => {
                write!(f, "status={code}")?;
                for (key, value) in [("retry_after", retry_after), ("body", body)] {
                    if let Some(value) = value {
                        write!(f, " {key}={}", quoted(value))?;
                    }
                }
                Ok(())
            }
            Self::SlowFirstByte(wait) => write!(f, "slow_first_byte={}us", wait.as_micros()),
            Self::SlowBody {
                bytes_per_chunk,
                pause,
            } => write!(f, "slow_body={bytes_per_chunk}/{}us", pause.as_micros()),
            Self::Redirect { code, location } => {
                write!(f, "redirect={code} location={}", quoted(location))
            }
            Self::Drip { code, pause } => write!(f, "drip={code}/{}us", pause.as_micros()),
            Self::Drop => f.write_str("drop"),
            Self::Unframed(Unframed::Whole) => f.write_str("unframed=whole"),
            Self::Unframed(Unframed::Gzip) => f.write_str("unframed=gzip"),
            Self::Unframed(Unframed::Cut) => f.write_str("unframed=cut"),
            Self::Unframed(Unframed::Reset) => f.write_str("unframed=reset"),
            Self::Unframed(Unframed::Stall) => f.write_str("unframed=stall"),
            Self::CutBody(Cut::Fraction(part)) => write!(f, "cut={part}"),
            Self::CutBody(Cut::Bytes(bytes)) => write!(f, "cut={bytes}b"),
            Self::CutBody(Cut::Over(bytes)) => write!(f, "cut_over={bytes}"),
            Self::CutClean(CleanCut::GzipTrailer) => f.write_str("cut_clean=trailer"),
            Self::CutClean(CleanCut::GzipMiddle) => f.write_str("cut_clean=middle"),
            Self::CutClean(CleanCut::Line) => f.write_str("cut_clean=line"),
            Self::CorruptGzip => f.write_str("corrupt_gzip"),
            Self::TerminatedEarly { after_rows, text } => {
                write!(f, "terminated_early={after_rows} text={}", quoted(text))
            }
            Self::ErrorLine { after_rows } => write!(f, "error_line={after_rows}"),
            Self::BadLine { at_row, bytes } => {
                write!(f, "bad_line={at_row} bytes=\"")?;
                for &byte in bytes {
                    match byte {
                        b'"' | b'\\' => write!(f, "\\x{byte:02x}")?,
                        b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                        _ => write!(f, "\\x{byte:02x}")?,
                    }
                }
                f.write_str("\"")
            }
            Self::Where(holds) => write!(f, "where={holds}"),
            Self::NoFinalNewline => f.write_str("no_final_newline"),
            Self::Crlf => f.write_str("crlf"),
            Self::Bom => f.write_str("bom"),
            Self::BlankLines => f.write_str("blank_lines"),
            Self::ExpireSession => f.write_str("expire_session"),
            Self::ErrorIn200 { message } => write!(f, "error_in_200 message={}", quoted(message)),
            Self::NullResults => f.write_str("null_results"),
            Self::EmptyPage => f.write_str("empty_page"),
            Self::OtherPage { content, admitted } => {
                let name = if *admitted {
                    "other_page"
                } else {
                    "repeated_page"
                };
                write!(f, "{name}={content}")
            }
            Self::NoPageSize => f.write_str("no_page_size"),
            Self::RateLimited {
                per_hour,
                resets_in,
            } => write!(f, "rate_limited={per_hour}/{resets_in}"),
            Self::DifferentOnRetry => f.write_str("different_on_retry"),
        }
    }
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn rules_are_read() {
        let fault = Fault::parse("export from=2024-01-03 times=2 status=503 retry_after=1");
        let expected = Fault {
            when: Matcher::export_from(date(2024, 1, 3)),
            times: Some(2),
            action: Action::Status {
                code: 503,
                retry_after: Some("1".to_owned()),
                body: None,
            },
        };
        assert_eq!(fault, Ok(expected));
        let fault = Fault::parse("engage page=3 always cut=0.5");
        let cut = Action::CutBody(Cut::Fraction(0.5));
        assert_eq!(fault, Ok(Fault::always(Matcher::engage_page(3), cut)));
    }

    #[test]
    fn every_action_survives_a_round_trip() {
        for rule in [
            r#"any status=429 retry_after="Wed, 21 Oct 2026 07:28:00 GMT" body="a \"b\" \\ c\nd""#,
            "export nth=2 skip=1 slow_first_byte=200ms",
            "export slow_body=1000/50ms",
            "export always cut_over=20000",
            "export always where=false",
            "any always drop",
            "engage page=3 cut=1000b",
            "any redirect=302 location=\"http://127.0.0.1/login\"",
            "export drip=500/50ms",
            "export unframed=whole",
            "export unframed=gzip",
            "export unframed=cut",
            "export unframed=reset",
            "export always unframed=stall",
            "export cut_clean=trailer",
            "export cut_clean=middle",
            "export cut_clean=line",
            "export corrupt_gzip",
            "export nth=2 terminated_early=100",
            "export terminated_early=0 text=\"terminated early\"",
            "export error_line=5",
            r#"export bad_line=3 bytes="{\xff \x22""#,
            "export no_final_newline",
            "export crlf",
            "export bom",
            "export blank_lines",
            "engage expire_session",
            "engage error_in_200 message=\"no such cohort\"",
            "engage null_results",
            "engage empty_page",
            "engage page=2 always other_page=1",
            "engage page=2 repeated_page=1",
            "engage always no_page_size",
            "any rate_limited=60/3600",
            "export times=3 different_on_retry",
        ] {
            let fault = Fault::parse(rule).unwrap();
            assert_eq!(Fault::parse(&fault.to_string()), Ok(fault), "{rule}");
        }
    }

    #[test]
    fn bytes_need_not_be_text() {
        let fault = Fault::parse(r#"export bad_line=3 bytes="{\xff \x22""#).unwrap();
        let bytes = b"{\xff \"".to_vec();
        assert_eq!(fault.action, Action::BadLine { at_row: 3, bytes });
    }

    #[test]
    fn errors_name_the_mistake() {
        for (rule, reason) in [
            ("", "it begins with `export`, `engage` or `any`"),
            ("export", "it has no action"),
            (
                "export statsu=503",
                "`statsu` is neither a condition nor an action",
            ),
            ("export status=abc", "`status` needs a status, not `abc`"),
            (
                "export from=yesterday drop",
                "`from` needs a date, not `yesterday`",
            ),
            ("export drop crlf", "`crlf` is a second action"),
            ("export drop body=x", "`body` does not belong to `drop`"),
            (
                "export empty_page",
                "`empty_page` does not apply to this endpoint",
            ),
            (
                "export cut=2",
                "`cut` needs a part such as `0.5` or a size such as `1000b`",
            ),
            ("export status", "`status` needs a value"),
            ("export status=1 body=\"x", "a quote is not closed"),
        ] {
            let error = Fault::parse(rule).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("cannot read the fault `{rule}`: {reason}")
            );
        }
    }

    #[test]
    fn a_script_has_comments() {
        let script = "# two faults\nexport drop\n\n  engage drop\n";
        assert_eq!(Fault::parse_script(script).unwrap().len(), 2);
    }
}
