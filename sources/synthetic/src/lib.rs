//! Mixpanel-shaped events and profiles made on the spot, without a network.
//!
//! For demos, and for load-testing a sink: the records go through the very
//! decoder that Mixpanel's go through, so a sink cannot tell them apart.

#![forbid(unsafe_code)]

pub mod generate;
mod source;

pub use source::{SyntheticOptions, SyntheticSource};

use mixflow_core::registry::{ComponentDoc, OptionDoc, Registry};
use mixflow_core::source::Source;

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::new("rows", "number, default 1000", "how many to make"),
    OptionDoc::new(
        "seed",
        "number, default 0",
        "the same seed gives the same rows",
    ),
    OptionDoc::new(
        "from",
        "YYYY-MM-DD | today | yesterday | -7d, default -6d",
        "the first day, inclusive",
    ),
    OptionDoc::new(
        "to",
        "YYYY-MM-DD | today | yesterday | -7d, default today",
        "the last day, inclusive",
    ),
    OptionDoc::new(
        "users",
        "number, default 1000",
        "how many people the events are about",
    ),
];

const EVENTS: ComponentDoc = ComponentDoc {
    name: "synthetic_events",
    about: "made-up events, a partition for each day",
    options: OPTIONS,
};

const PROFILES: ComponentDoc = ComponentDoc {
    name: "synthetic_profiles",
    about: "made-up profiles, a partition for each thousand",
    options: OPTIONS,
};

/// Adds the sources of this crate to `registry`.
pub fn register(registry: &mut Registry) {
    registry
        .add_source(EVENTS, None, |options: SyntheticOptions, cx| {
            SyntheticSource::events(options, cx).map(|source| Box::new(source) as Box<dyn Source>)
        })
        .takes::<SyntheticOptions>();
    registry
        .add_source(PROFILES, None, |options: SyntheticOptions, cx| {
            SyntheticSource::profiles(options, cx).map(|source| Box::new(source) as Box<dyn Source>)
        })
        .takes::<SyntheticOptions>();
}

#[cfg(test)]
mod tests {
    use super::*;
    use mixflow_core::testing::assert_described;

    #[test]
    fn every_option_is_described() {
        assert_described::<SyntheticOptions>(&EVENTS);
        assert_described::<SyntheticOptions>(&PROFILES);
    }
}
