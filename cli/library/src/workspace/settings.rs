//! How a request is run, whatever it asks for.

use std::num::NonZeroUsize;
use std::time::Duration;

use mixflow_core::config::{Invalid, RunTable};
use mixflow_core::context::Delivery;
use mixflow_core::engine::{OnFailure, RunOptions};
use mixflow_core::unit::Unit;
use mixflow_sink_duckdb::DuckdbOptions;

use super::step::Step;
use crate::launch::Patience;

/// What both requests have beside their source.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// Of the store's sink.
    pub(super) sink: DuckdbOptions,
    pub(super) transforms: Vec<Step>,
    pub(super) workers: Option<usize>,
    pub(super) on_failure: Option<OnFailure>,
    pub(super) delivery: Option<Delivery>,
    pub(super) min_rows: u64,
    pub(super) units: Option<Vec<Unit>>,
    pub(super) wait: Option<Duration>,
}

impl Settings {
    pub(super) fn run_options(&self) -> Result<RunOptions, Vec<Invalid>> {
        let workers = self.workers.map(|workers| {
            let none = || vec![Invalid::new("run.workers", "at least 1 is needed")];
            NonZeroUsize::new(workers).ok_or_else(none)
        });
        let table = RunTable {
            workers: workers.transpose()?,
            on_failure: self.on_failure,
            delivery: None,
            min_rows: Some(self.min_rows),
            metrics: None,
        };
        Ok(RunOptions {
            delivery: self.delivery,
            ..table.options()
        })
    }

    pub(super) fn patience(&self) -> Patience {
        match self.wait {
            None => Patience::default(),
            Some(time) => Patience {
                runs: time,
                programs: time,
            },
        }
    }
}
