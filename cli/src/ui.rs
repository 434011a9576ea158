//! The only place that prints.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style};
use log::Level;
#[cfg(unix)]
use mixflow_core::patient::Patient;
use mixflow_core::{Error, ErrorKind, Result};
use serde_json::json;

use crate::args::{Color, Global, LogFormat};
use crate::interrupt;
use crate::lines::{self, Form, Said};
use crate::remedies;
use crate::screen::plain;

/// Prints to stdout and stderr.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    color: bool,
    color_on_stdout: bool,
    quiet: bool,
    form: Form,
}

impl Ui {
    pub(crate) fn new(global: &Global) -> Ui {
        let color = |is_terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                is_terminal
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
            }
        };
        Ui {
            color: color(io::stderr().is_terminal()),
            color_on_stdout: color(io::stdout().is_terminal()),
            quiet: global.quiet,
            form: Form::of(global.log_format),
        }
    }

    /// Returns how lines on stderr are written.
    pub(crate) fn form(self) -> Form {
        self.form
    }

    pub(crate) fn has_color(self) -> bool {
        self.color
    }

    /// Prints what the user asked for. A reader that went away is no error.
    pub(crate) fn out(self, text: &str) {
        let text = match io::stdout().is_terminal() {
            true => plain(text),
            false => text.into(),
        };
        let _ = io::stdout().lock().write_all(text.as_bytes());
    }

    pub(crate) fn has_color_on_stdout(self) -> bool {
        self.color_on_stdout
    }

    /// Prints a text of ours, with its colours; what is not ours in it is
    /// [`plain`].
    pub(crate) fn out_styled(self, text: &str) {
        self.out_bytes(text.as_bytes());
    }

    /// Prints bytes that are to be taken as they are.
    pub(crate) fn out_bytes(self, bytes: &[u8]) {
        let _ = io::stdout().lock().write_all(bytes);
    }

    /// Asks a question that is answered with yes or no; without a terminal to
    /// ask on, there is no answer.
    ///
    /// Fails with [`ErrorKind::Io`] if the terminal cannot be used.
    pub(crate) fn confirmed(self, question: &str) -> Result<Option<bool>> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Ok(None);
        }
        let unread = |error| Error::new(ErrorKind::Io, "cannot ask").with_source(error);
        let question = format!("{} [y/N] ", plain(question));
        io::stderr()
            .write_all(question.as_bytes())
            .map_err(unread)?;
        let mut line = String::new();
        io::stdin().read_line(&mut line).map_err(unread)?;
        Ok(Some(matches!(line.trim(), "y" | "Y" | "yes")))
    }

    /// Tells programs something, a JSON object a line.
    pub(crate) fn json(self, line: &serde_json::Value) {
        tell(&lines::object(self.form, line));
    }

    /// Tells how it went; not with `--quiet`.
    pub(crate) fn status(self, line: &str) {
        if !self.quiet {
            self.line(line);
        }
    }

    /// Tells of a long wait, with `--quiet` too: who sees nothing happen for an
    /// hour is to know why.
    pub(crate) fn wait(self, line: &str) {
        if self.quiet {
            self.note(line);
        } else {
            self.line(line);
        }
    }

    pub(crate) fn warning(self, text: &str) {
        self.tell(&self.labelled("warning", text));
    }

    pub(crate) fn note(self, text: &str) {
        self.tell(&self.labelled("note", text));
    }

    /// Prints an error, its causes and what to do.
    pub(crate) fn error(self, error: &Error) {
        let (causes, hint) = (error.causes(), remedies::hint(error));
        let mut said = self.labelled("error", error.message());
        let below = causes.iter().map(|cause| format!("  caused by: {cause}"));
        said.below = below.collect();
        said.more
            .insert("kind".to_owned(), json!(error.kind().class()));
        said.more.insert("causes".to_owned(), json!(causes));
        said.more.insert("hint".to_owned(), json!(hint));
        self.tell(&said);
        // It is in the object already.
        if let Some(hint) = hint.filter(|_| self.form != Form::Json) {
            self.hint(&hint);
        }
    }

    pub(crate) fn hint(self, text: &str) {
        self.tell(&self.labelled("hint", text));
    }

    /// Prints an error that is only a text.
    pub(crate) fn complaint(self, text: &str) {
        self.tell(&self.labelled("error", text));
    }

    /// Passes on what a library logs.
    pub(crate) fn logged(self, level: Level, target: &str, text: &str) {
        let message = format!("{level:<5} {target}: {text}");
        let mut said = Said::new(level, &message);
        if self.form == Form::Json {
            said.message = text;
            said.more.insert("target".to_owned(), json!(target));
        }
        self.tell(&said);
    }

    fn labelled<'a>(self, label: &'static str, text: &'a str) -> Said<'a> {
        let (level, color) = match label {
            "error" => (Level::Error, AnsiColor::Red),
            "warning" => (Level::Warn, AnsiColor::Yellow),
            "hint" => (Level::Info, AnsiColor::Cyan),
            _ => (Level::Info, AnsiColor::Blue),
        };
        let style = match self.color {
            true => Style::new().bold().fg_color(Some(color.into())),
            false => Style::new(),
        };
        Said {
            label: Some((label, style)),
            ..Said::new(level, text)
        }
    }

    fn line(self, line: &str) {
        self.tell(&Said::new(Level::Info, line));
    }

    fn tell(self, said: &Said<'_>) {
        tell(&said.written(self.form));
    }
}

/// Says what is wrong with the command line, or what was asked of it, as clap
/// would; returns how to end.
pub(crate) fn misread(error: &clap::Error) -> ExitCode {
    // What help was asked for is no line of a log.
    let format = log_format(std::env::args_os());
    let form = Form::of(format);
    if !error.use_stderr() || form == Form::Screen {
        let _ = error.print();
    } else {
        let text = error.render().to_string();
        let text = text.trim_end();
        let message = text.strip_prefix("error: ").unwrap_or(text);
        let label = Some(("error", Style::new()));
        let said = Said {
            label,
            ..Said::new(Level::Error, message)
        };
        tell(&said.written(form));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Returns the format that a command line asks for that cannot be read.
fn log_format(arguments: impl Iterator<Item = OsString>) -> LogFormat {
    let words: Vec<OsString> = arguments.collect();
    let is_json = words.iter().any(|word| word == "--log-format=json")
        || words
            .windows(2)
            .any(|pair| pair[0] == "--log-format" && pair[1] == "json");
    match is_json {
        true => LogFormat::Json,
        false => LogFormat::Text,
    }
}

/// Writes to stderr.
///
/// Nobody is left to tell when stderr is gone, or when nobody reads it and the
/// process is to end.
fn tell(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}

/// Returns stderr as something that does not hold up a process that is to end.
#[cfg(unix)]
pub(crate) fn stderr() -> Box<dyn Write + Send> {
    match Patient::new(&io::stderr(), interrupt::token()) {
        Ok(patient) => Box::new(patient),
        Err(_) => Box::new(io::stderr()),
    }
}

#[cfg(not(unix))]
pub(crate) fn stderr() -> Box<dyn Write + Send> {
    Box::new(io::stderr())
}

/// Prints a line that another process of ours has said, as it is.
pub(crate) fn hand_on(line: &str) {
    // Whom stderr does not reach is not reached by an error either.
    let _ = stderr().write_all(format!("{line}\n").as_bytes());
}

/// Returns a count with thousands apart: `12,345`.
pub(crate) fn count(n: u64) -> String {
    indicatif::HumanCount(n).to_string()
}

/// Returns a count of things: `1 row`, `2 rows`.
pub(crate) fn counted(n: u64, thing: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {thing}{s}", count(n))
}

/// Returns a count in at most four columns: `999`, `1.2k`, `12k`, `123M`.
pub(crate) fn short_count(n: u64) -> String {
    let mut unit = 1_u64;
    let mut units = ["", "k", "M", "G", "T", "P", "E"].into_iter();
    let mut name = units.next().unwrap_or_default();
    while n / unit >= 1_000 {
        unit *= 1_000;
        name = units.next().unwrap_or_default();
    }
    let (whole, tenth) = (n / unit, n % unit * 10 / unit);
    match (unit, whole) {
        (1, _) => n.to_string(),
        (_, 0..10) => format!("{whole}.{tenth}{name}"),
        _ => format!("{whole}{name}"),
    }
}

/// Returns a size: `12.3 MB`.
pub(crate) fn bytes(n: u64) -> String {
    indicatif::DecimalBytes(n).to_string()
}

/// Returns a span of time: `0.4 s`, `41 s`, `3 min 5 s`.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s => format!("{:.0} min {:.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
    }
}
