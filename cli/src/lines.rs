//! The lines of stderr: as they are for a person who looks at them now;
//! elsewhere each with the time and the run that it is of, as text or as JSON.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};

use clap::builder::styling::Style;
use jiff::Timestamp;
use log::Level;
use serde_json::{Map, Value, json};

use crate::args::LogFormat;
use crate::screen::{plain, plain_json, plain_line};

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    Screen,
    /// Each behind the time, and the run that it is of.
    Text,
    /// Each a JSON object with them.
    Json,
}

impl Form {
    pub(crate) fn of(format: LogFormat) -> Form {
        match format {
            LogFormat::Json => Form::Json,
            LogFormat::Text if io::stderr().is_terminal() => Form::Screen,
            LogFormat::Text => Form::Text,
        }
    }
}

/// The run that is told of. A process makes one at a time.
static RUN: Mutex<Option<Run>> = Mutex::new(None);

#[derive(Clone)]
struct Run {
    pipeline: String,
    run_id: String,
}

/// While it lives, what is told is of a run.
#[must_use]
pub(crate) struct During(());

impl During {
    pub(crate) fn run(pipeline: &str, run_id: &str) -> During {
        set(Some(Run {
            pipeline: plain_line(pipeline).into_owned(),
            run_id: run_id.to_owned(),
        }));
        During(())
    }
}

impl Drop for During {
    fn drop(&mut self) {
        set(None);
    }
}

fn set(run: Option<Run>) {
    *RUN.lock().unwrap_or_else(PoisonError::into_inner) = run;
}

fn run() -> Option<Run> {
    RUN.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Something that is told.
pub(crate) struct Said<'a> {
    pub(crate) level: Level,
    /// What stands before it, and how: `warning`.
    pub(crate) label: Option<(&'static str, Style)>,
    pub(crate) message: &'a str,
    /// What only JSON has.
    pub(crate) more: Map<String, Value>,
    /// What only text has: further lines.
    pub(crate) below: Vec<String>,
}

impl<'a> Said<'a> {
    pub(crate) fn new(level: Level, message: &'a str) -> Said<'a> {
        Said {
            level,
            label: None,
            message,
            more: Map::new(),
            below: Vec::new(),
        }
    }

    /// Returns it as it is written.
    pub(crate) fn written(&self, form: Form) -> String {
        match form {
            Form::Screen => self.text(),
            Form::Text => stamped(&self.text()),
            Form::Json => {
                let mut object = Map::new();
                object.insert("level".to_owned(), json!(name_of(self.level)));
                object.insert("message".to_owned(), json!(self.message));
                object.extend(self.more.clone());
                with_stamp(object)
            }
        }
    }

    fn text(&self) -> String {
        let label = self
            .label
            .map(|(label, style)| format!("{style}{label}:{style:#} "));
        let mut text = format!("{}{}\n", label.unwrap_or_default(), plain(self.message));
        for line in &self.below {
            text.push_str(&plain(line));
            text.push('\n');
        }
        text
    }
}

/// Returns a JSON object on a line, with the time and the run where nobody
/// looks at it.
pub(crate) fn object(form: Form, line: &Value) -> String {
    match line {
        Value::Object(members) if form != Form::Screen => with_stamp(members.clone()),
        line => format!("{}\n", plain_json(&line.to_string())),
    }
}

/// Returns a JSON object with the time and the run before its members; what it
/// has of that already, as a report does, stays.
fn with_stamp(members: Map<String, Value>) -> String {
    let mut object = Map::new();
    object.insert("time".to_owned(), json!(now()));
    if !members.contains_key("level") {
        object.insert("level".to_owned(), json!(name_of(Level::Info)));
    }
    if let Some(run) = run() {
        object.insert("pipeline".to_owned(), json!(run.pipeline));
        object.insert("run_id".to_owned(), json!(run.run_id));
    }
    object.extend(members);
    format!("{}\n", plain_json(&Value::Object(object).to_string()))
}

/// Puts the time and the run before each line of a text.
fn stamped(text: &str) -> String {
    let of = run().map(|run| format!(" [{} {}]", run.pipeline, run.run_id));
    let stamp = format!("{}{}", now(), of.unwrap_or_default());
    let lines = text.trim_end_matches('\n').split('\n');
    lines.map(|line| format!("{stamp} {line}\n")).collect()
}

fn now() -> String {
    let now: Timestamp = mixflow_core::clock::now();
    now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn name_of(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}
