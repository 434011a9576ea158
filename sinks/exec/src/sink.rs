//! The sink: its options, and what it promises.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arrow::datatypes::Schema;
use mixflow_core::Result;
use mixflow_core::config::{Invalid, Seconds};
use mixflow_core::destination::Destination;
use mixflow_core::sink::{Capabilities, Preview, RecordFormat, Sink, SinkTxn, TxnContext};
use mixflow_core::unit::DataKind;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::form::{ExecFormat, Form};
use crate::program::{OURS, Program};
use crate::txn::ExecTxn;

/// A load into a warehouse may take minutes in which nothing is read; under
/// cron a program that hangs should still be told of the same night.
const TIMEOUT: Duration = Duration::from_secs(300);

/// The options of the sink.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecOptions {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The form in which rows are sent.
    pub format: Option<ExecFormat>,
    /// Whether nothing is visible before the program ends with exit code 0.
    pub transactional: Option<bool>,
    /// How long the program may read nothing, and may take to end at commit.
    pub timeout: Option<Seconds>,
    /// Variables for the program; an empty text leaves one out.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// Sends rows to a program.
#[derive(Debug)]
pub struct ExecSink {
    program: Program,
    timeout: Duration,
    format: ExecFormat,
    transactional: bool,
}

impl ExecSink {
    /// Checks the options. Makes no I/O.
    pub fn new(options: ExecOptions) -> Result<ExecSink, Vec<Invalid>> {
        let timeout = options.timeout.map_or(TIMEOUT, |seconds| seconds.0);
        let mut invalid = Vec::new();
        if timeout.is_zero() {
            invalid.push(Invalid::new(
                "timeout",
                "this must be longer than nothing; `24h` is as good as none",
            ));
        }
        for name in options.env.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                invalid.push(Invalid::new(
                    "env",
                    format!("`{name}` cannot be the name of a variable"),
                ));
            } else if OURS.contains(&name.as_str()) {
                invalid.push(Invalid::new(
                    "env",
                    format!("`{name}` is set by mixflow itself"),
                ));
            }
        }
        let program = Program::new(options.command, options.env);
        match program {
            Some(program) if invalid.is_empty() => Ok(ExecSink {
                program,
                timeout,
                format: options.format.unwrap_or_default(),
                transactional: options.transactional.unwrap_or(true),
            }),
            Some(_) => Err(invalid),
            None => {
                invalid.push(Invalid::new(
                    "command",
                    "this is empty; write one like `[\"python3\", \"sink.py\"]`",
                ));
                Err(invalid)
            }
        }
    }
}

impl ExecSink {
    /// Keeps the environment's variables of these names from the program,
    /// such as those that secrets come from.
    pub fn without_variables(mut self, names: BTreeSet<String>) -> ExecSink {
        self.program.hide(names);
        self
    }
}

impl Sink for ExecSink {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            transactional: self.transactional,
            replaces_days: false,
            records: match self.format {
                ExecFormat::Arrow | ExecFormat::Jsonl => RecordFormat::Normalized,
                ExecFormat::Raw => RecordFormat::Raw,
            },
        }
    }

    fn destination(&self, _kind: &DataKind) -> Destination {
        Destination::named(self.program.shown())
    }

    fn check_schema(&self, schema: &Schema) -> Result<()> {
        Form::new(self.format, schema).map(|_| ())
    }

    fn check_machine(&self) -> Result<()> {
        self.program.find().map(|_| ())
    }

    fn preview(&self, _cx: &TxnContext) -> Result<Preview> {
        self.program.find()?;
        let what = match self.format {
            ExecFormat::Arrow => "an Arrow stream",
            ExecFormat::Jsonl => "JSON lines",
            ExecFormat::Raw => "the records as Mixpanel sent them",
        };
        Ok(Preview {
            actions: vec![format!(
                "starts {} and sends it {what}",
                self.program.shown()
            )],
        })
    }

    fn begin(&self, cx: &TxnContext) -> Result<Box<dyn SinkTxn + '_>> {
        let form = Form::new(self.format, &cx.schema)?;
        Ok(Box::new(ExecTxn::begin(
            &self.program,
            self.timeout,
            self.transactional,
            form,
            cx,
        )?))
    }
}

#[cfg(test)]
mod tests {
    use mixflow_core::testing::assert_described;

    use super::*;

    fn sink(json: &str) -> Result<ExecSink, String> {
        let options = serde_json::from_str(json).expect("it parses");
        ExecSink::new(options).map_err(|invalid| invalid[0].message.clone())
    }

    fn refused(json: &str) -> String {
        sink(json).expect_err("refused")
    }

    #[test]
    fn every_option_is_described() {
        assert_described::<ExecOptions>(&crate::DOC);
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        assert!(refused(r#"{"command": []}"#).contains("empty"));
        assert!(refused(r#"{"command": ["", "a"]}"#).contains("empty"));
        assert!(refused(r#"{"command": ["a"], "timeout": "0s"}"#).contains("longer"));
        assert!(refused(r#"{"command": ["a"], "env": {"A=B": "c"}}"#).contains("`A=B`"));
        assert!(
            refused(r#"{"command": ["a"], "env": {"MIXFLOW_COMMIT": "c"}}"#).contains("itself")
        );
    }

    #[test]
    fn the_author_decides_what_is_promised() {
        let transactional = |json| sink(json).expect("fine").capabilities().transactional;
        assert!(transactional(r#"{"command": ["a"]}"#));
        assert!(!transactional(
            r#"{"command": ["a"], "transactional": false}"#
        ));
    }
}
