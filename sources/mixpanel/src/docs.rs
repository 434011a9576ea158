//! What `mixflow components` shows of the sources.

use mixflow_core::registry::{ComponentDoc, OptionDoc};

const PROJECT: OptionDoc = OptionDoc::new(
    "project_id",
    "text or number",
    "the project; a service account needs it",
);
const REGION: OptionDoc = OptionDoc::new(
    "region",
    "us | eu | in, default us",
    "where the project's data is kept",
);
const AUTH: OptionDoc = OptionDoc::new(
    "auth",
    "{ username, secret } | { project_secret } | { token }",
    "the credentials; a secret is { env }, { file }, { command } or plain text",
);
const BASE_URL: OptionDoc = OptionDoc::new(
    "base_url",
    "URL",
    "replaces scheme and host of the endpoint",
);
const MAX_REJECTS: OptionDoc = OptionDoc::new(
    "max_rejects",
    "number, default 1000",
    "more records that cannot be read fail the run",
);
const RETRY: OptionDoc = OptionDoc::new(
    "retry",
    "table",
    "max_attempts = 5, base_delay = 1s, max_delay = 60s, max_wait = 1h, connect_timeout = 10s, first_byte_timeout = 10m, idle_timeout = 2m",
);

/// `mixpanel_events`.
pub(crate) const EVENTS: ComponentDoc = ComponentDoc {
    name: "mixpanel_events",
    about: "events of a Mixpanel project, by date window",
    options: &[
        PROJECT,
        REGION,
        AUTH,
        OptionDoc::new(
            "from",
            "YYYY-MM-DD | today | yesterday | -7d",
            "the first day, inclusive",
        ),
        OptionDoc::new(
            "to",
            "YYYY-MM-DD | today | yesterday | -7d",
            "the last day, inclusive",
        ),
        OptionDoc::new(
            "lookback",
            "days such as 5d",
            "moves `from` back to catch late events",
        ),
        OptionDoc::new(
            "events",
            "list of names",
            "the events wanted; all if not given",
        ),
        OptionDoc::new("where", "expression", "what events must satisfy"),
        OptionDoc::new(
            "window_days",
            "number or auto, default auto",
            "the days of one request",
        ),
        OptionDoc::new("limit", "1 to 100000", "the most events; needs one window"),
        OptionDoc::new(
            "time_in_ms",
            "true | false",
            "asks for times in milliseconds",
        ),
        OptionDoc::new(
            "timezone",
            "zone, default UTC",
            "the zone of a project created before 2023",
        ),
        BASE_URL,
        MAX_REJECTS,
        RETRY,
        OptionDoc::new(
            "limits",
            "table",
            "per_second = 3, per_hour = 60, concurrent = 100",
        ),
    ],
};

/// `mixpanel_profiles`.
pub(crate) const PROFILES: ComponentDoc = ComponentDoc {
    name: "mixpanel_profiles",
    about: "profiles of a Mixpanel project, by page",
    options: &[
        PROJECT,
        REGION,
        AUTH,
        OptionDoc::new("where", "expression", "what profiles must satisfy"),
        OptionDoc::new("distinct_id", "text or number", "one profile"),
        OptionDoc::new(
            "distinct_ids",
            "list",
            "some profiles; excludes distinct_id",
        ),
        OptionDoc::new(
            "group_id",
            "number",
            "group profiles: the id of the group key",
        ),
        OptionDoc::new(
            "output_properties",
            "list of names",
            "the properties wanted; all if not given",
        ),
        OptionDoc::new(
            "cohort_id",
            "number",
            "the members of a cohort; excludes behaviors",
        ),
        OptionDoc::new(
            "include_all_users",
            "true | false, default false",
            "also members of the cohort without a profile",
        ),
        OptionDoc::new(
            "behaviors",
            "text or list",
            "an event selector; excludes cohort_id",
        ),
        OptionDoc::new(
            "as_of_timestamp",
            "Unix seconds, default now",
            "when behaviors are evaluated",
        ),
        OptionDoc::new(
            "accept_short",
            "true | false, default false",
            "fewer profiles than the server announces are a warning, not a failure",
        ),
        BASE_URL,
        MAX_REJECTS,
        RETRY,
        OptionDoc::new(
            "limits",
            "table",
            "per_hour = 60, concurrent = 5, per_second without a limit",
        ),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{EventsOptions, ProfilesOptions};
    use mixflow_core::testing::assert_described;

    #[test]
    fn every_option_is_described() {
        assert_described::<EventsOptions>(&EVENTS);
        assert_described::<ProfilesOptions>(&PROFILES);
    }
}
