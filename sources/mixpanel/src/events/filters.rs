//! The filters of events.

use mixflow_core::config::Invalid;
use serde_json::{Map, Value, json};

use crate::options::EventsOptions;

/// What of a project's events is wanted.
#[derive(Debug, Default)]
pub(super) struct Filters {
    /// As it is sent.
    pub(super) query: Vec<(&'static str, String)>,
    /// The events that are wanted, by name; none if all are.
    pub(super) names: Vec<String>,
    /// What is chosen by it, by the names of the options: equal for all ways
    /// to write the same.
    pub(super) chosen: Map<String, Value>,
}

impl Filters {
    /// Turns the options into filters; what is wrong with them goes to
    /// `invalid`.
    pub(super) fn new(
        options: &EventsOptions,
        windows: usize,
        invalid: &mut Vec<Invalid>,
    ) -> Filters {
        let mut filters = Filters::default();
        filters.add_events(options, invalid);
        filters.add_where(options, invalid);
        filters.add_limit(options, windows, invalid);
        if options.time_in_ms == Some(true) {
            // The same events, in another form.
            filters.query.push(("time_in_ms", "true".to_owned()));
        }
        filters
    }

    fn add_events(&mut self, options: &EventsOptions, invalid: &mut Vec<Invalid>) {
        let Some(events) = &options.events else {
            return;
        };
        if events.is_empty() {
            invalid.push(Invalid::new(
                "events",
                "this names no event; leave it out to get all of them",
            ));
        }
        self.query.push(("event", json!(events).to_string()));
        self.names.clone_from(events);
        self.chosen.insert("events".to_owned(), json!(events));
    }

    fn add_where(&mut self, options: &EventsOptions, invalid: &mut Vec<Invalid>) {
        let Some(expression) = &options.where_ else {
            return;
        };
        if expression.trim().is_empty() {
            invalid.push(Invalid::new("where", "this is empty; leave it out instead"));
        }
        self.query.push(("where", expression.clone()));
        self.chosen.insert("where".to_owned(), json!(expression));
    }

    fn add_limit(&mut self, options: &EventsOptions, windows: usize, invalid: &mut Vec<Invalid>) {
        let Some(limit) = options.limit else {
            return;
        };
        if !(1..=100_000).contains(&limit) {
            invalid.push(Invalid::new("limit", "a limit is from 1 to 100000"));
        }
        if windows > 1 {
            invalid.push(Invalid::new(
                "limit",
                format!("this needs one window, and there are {windows}: leave `window_days` out"),
            ));
        }
        // Not a choice of data: less of the same.
        self.query.push(("limit", limit.to_string()));
    }
}
