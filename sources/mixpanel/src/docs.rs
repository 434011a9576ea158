//! What `mixflow components` shows of the sources.

use mixflow_core::registry::{ComponentDoc, OptionDoc};

const fn option(name: &'static str, value: &'static str, about: &'static str) -> OptionDoc {
    OptionDoc { name, value, about }
}

const PROJECT: OptionDoc = option(
    "project_id",
    "text or number",
    "the project; a service account needs it",
);
const REGION: OptionDoc = option(
    "region",
    "us | eu | in, default us",
    "where the project's data is kept",
);
const AUTH: OptionDoc = option(
    "auth",
    "{ username, secret } | { project_secret } | { token }",
    "the credentials; a secret is { env }, { file }, { command } or plain text",
);
const BASE_URL: OptionDoc = option(
    "base_url",
    "URL",
    "replaces scheme and host of the endpoint",
);
const MAX_REJECTS: OptionDoc = option(
    "max_rejects",
    "number, default 1000",
    "more records that cannot be read fail the run",
);
const RETRY: OptionDoc = option(
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
        option(
            "from",
            "YYYY-MM-DD | today | yesterday | -7d",
            "the first day, inclusive",
        ),
        option(
            "to",
            "YYYY-MM-DD | today | yesterday | -7d",
            "the last day, inclusive",
        ),
        option(
            "lookback",
            "days such as 5d",
            "moves `from` back to catch late events",
        ),
        option(
            "events",
            "list of names",
            "the events wanted; all if not given",
        ),
        option("where", "expression", "what events must satisfy"),
        option(
            "window_days",
            "number or auto, default auto",
            "the days of one request",
        ),
        option("limit", "1 to 100000", "the most events; needs one window"),
        option(
            "time_in_ms",
            "true | false",
            "asks for times in milliseconds",
        ),
        option(
            "timezone",
            "zone, default UTC",
            "the zone of a project created before 2023",
        ),
        BASE_URL,
        MAX_REJECTS,
        RETRY,
        option(
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
        option("where", "expression", "what profiles must satisfy"),
        option("distinct_id", "text or number", "one profile"),
        option(
            "distinct_ids",
            "list",
            "some profiles; excludes distinct_id",
        ),
        option(
            "group_id",
            "number",
            "group profiles: the id of the group key",
        ),
        option(
            "output_properties",
            "list of names",
            "the properties wanted; all if not given",
        ),
        option(
            "cohort_id",
            "number",
            "the members of a cohort; excludes behaviors",
        ),
        option(
            "include_all_users",
            "true | false",
            "also members of the cohort without a profile",
        ),
        option(
            "behaviors",
            "text or list",
            "an event selector; excludes cohort_id",
        ),
        option(
            "as_of_timestamp",
            "Unix seconds",
            "when behaviors are evaluated",
        ),
        BASE_URL,
        MAX_REJECTS,
        RETRY,
        option(
            "limits",
            "table",
            "per_second = 3, per_hour = 60, concurrent = 5",
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
