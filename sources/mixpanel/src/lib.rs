//! Mixpanel as a source: events by date window, profiles by page.
//!
//! [`register`] adds `mixpanel_events` and `mixpanel_profiles` to a registry.
//! [`decode`] is the normaliser, for whoever has Mixpanel's lines from
//! elsewhere. What the API does is written down from its OpenAPI files and
//! from what other connectors have seen; the client is built to survive both.
//! `http` is all that is only HTTP, `json` is the decoder's hot path.

#![forbid(unsafe_code)]

mod auth;
mod cores;
pub mod decode;
mod docs;
mod events;
mod http;
mod json;
mod keeper;
pub mod options;
mod probe;
mod profiles;
mod project;
pub mod schema;
mod source;
mod stream;
pub mod time;

pub use http::{quota, retry};
pub use source::MixpanelSource;

use mixflow_core::registry::Registry;
use mixflow_core::source::Source;

use options::{EventsOptions, ProfilesOptions};

/// Adds the sources of this crate to `registry`.
pub fn register(registry: &mut Registry) {
    let project = Some("project_id");
    registry
        .add_source(docs::EVENTS, project, |options: EventsOptions, cx| {
            MixpanelSource::events(options, cx).map(|source| Box::new(source) as Box<dyn Source>)
        })
        .takes::<EventsOptions>();
    registry
        .add_source(docs::PROFILES, project, |options: ProfilesOptions, cx| {
            MixpanelSource::profiles(options, cx).map(|source| Box::new(source) as Box<dyn Source>)
        })
        .takes::<ProfilesOptions>();
}
