//! Mixpanel as a source: events by date window, profiles by page.
//!
//! [`register`] adds `mixpanel_events` and `mixpanel_profiles` to a registry.
//! [`decode`] is the normaliser, for whoever has Mixpanel's lines from
//! elsewhere. What the API does is written down from its OpenAPI files and
//! from what other connectors have seen; the client is built to survive both.

#![forbid(unsafe_code)]

mod body;
mod checkpoint;
mod client;
mod connector;
pub mod decode;
mod direct;
mod docs;
mod escapes;
pub mod events;
mod filters;
mod json;
mod kept;
mod keys;
mod last_line;
mod lines;
mod mend;
pub mod options;
mod page;
pub mod profiles;
mod proxy;
pub mod quota;
pub mod retry;
mod room;
pub mod schema;
mod snapshot;
mod tail;
pub mod time;
mod window;

use mixflow_core::registry::Registry;
use mixflow_core::source::Source;

use events::EventsSource;
use options::{EventsOptions, ProfilesOptions};
use profiles::ProfilesSource;

/// Adds the sources of this crate to `registry`.
pub fn register(registry: &mut Registry) {
    let project = Some("project_id");
    registry.add_source(docs::EVENTS, project, |options: EventsOptions, cx| {
        EventsSource::new(options, cx).map(|source| Box::new(source) as Box<dyn Source>)
    });
    registry.add_source(docs::PROFILES, project, |options: ProfilesOptions, cx| {
        ProfilesSource::new(options, cx).map(|source| Box::new(source) as Box<dyn Source>)
    });
}
