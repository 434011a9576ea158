//! The only place that prints.

use std::io::{self, IsTerminal as _, Write};

use clap::builder::styling::{AnsiColor, Style};
#[cfg(unix)]
use mixflow_core::patient::Patient;
use mixflow_core::{Error, ErrorKind, Result};

use crate::args::{Color, Global};
use crate::interrupt;
use crate::remedies;
use crate::screen::{plain, plain_json};

/// Prints to stdout and stderr.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    color: bool,
    color_on_stdout: bool,
    quiet: bool,
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
        }
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
        // What a terminal would act on stands in texts alone, where JSON may
        // have it written out.
        tell(&format!("{}\n", plain_json(&line.to_string())));
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
        self.labelled("warning", AnsiColor::Yellow, text);
    }

    pub(crate) fn note(self, text: &str) {
        self.labelled("note", AnsiColor::Blue, text);
    }

    /// Prints an error, its causes and what to do.
    pub(crate) fn error(self, error: &Error) {
        self.labelled("error", AnsiColor::Red, error.message());
        for cause in error.causes() {
            self.line(&format!("  caused by: {cause}"));
        }
        if let Some(hint) = remedies::hint(error) {
            self.hint(&hint);
        }
    }

    pub(crate) fn hint(self, text: &str) {
        self.labelled("hint", AnsiColor::Cyan, text);
    }

    /// Prints an error that is only a text.
    pub(crate) fn complaint(self, text: &str) {
        self.labelled("error", AnsiColor::Red, text);
    }

    fn labelled(self, label: &str, color: AnsiColor, text: &str) {
        let style = match self.color {
            true => Style::new().bold().fg_color(Some(color.into())),
            false => Style::new(),
        };
        tell(&format!("{style}{label}:{style:#} {}\n", plain(text)));
    }

    fn line(self, line: &str) {
        tell(&format!("{}\n", plain(line)));
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
