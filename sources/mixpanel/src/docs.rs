//! What `mixflow components` shows of the sources.

use mixflow_core::registry::{ComponentDoc, OptionDoc};

const CONNECTION: OptionDoc = OptionDoc::new(
    "connection",
    "name",
    "a connection of `~/.config/mixflow/connections.toml`: what it says of the project and its credentials counts where the file is silent",
);
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
/// `retry` and the keys in it.
const RETRY: [OptionDoc; 8] = [
    OptionDoc::new("retry", "table", "how to try again; its keys are:"),
    OptionDoc::new(
        "retry.max_attempts",
        "number, default 5",
        "how often one window or page is asked for, the first time included",
    ),
    OptionDoc::new(
        "retry.base_delay",
        "duration, default 1s",
        "the wait before the second try; it doubles from try to try",
    ),
    OptionDoc::new(
        "retry.max_delay",
        "duration, default 60s",
        "the longest wait between two tries, unless the server asks for more",
    ),
    OptionDoc::new(
        "retry.max_wait",
        "duration, default 1h",
        "the longest wait that the server or the quota may ask for; a longer one ends the run with exit 5",
    ),
    OptionDoc::new(
        "retry.connect_timeout",
        "duration, default 10s",
        "how long connecting may take",
    ),
    OptionDoc::new(
        "retry.first_byte_timeout",
        "duration, default 10m",
        "how long the first byte of an answer may take; exports take minutes",
    ),
    OptionDoc::new(
        "retry.idle_timeout",
        "duration, default 2m",
        "how long an answer may pause",
    ),
];

const LIMITS: OptionDoc = OptionDoc::new(
    "limits",
    "table",
    "how fast to ask, if Mixpanel has agreed on other limits with you; its keys are:",
);

const PER_HOUR: OptionDoc = OptionDoc::new(
    "limits.per_hour",
    "number, default 60, or what Mixpanel says of the project",
    "requests in any hour",
);

/// `mixpanel_events`.
pub(crate) const EVENTS: ComponentDoc = ComponentDoc {
    name: "mixpanel_events",
    about: "events of a Mixpanel project, by date window",
    options: &[
        CONNECTION,
        PROJECT,
        REGION,
        AUTH,
        OptionDoc::new(
            "from",
            "YYYY-MM-DD | today | yesterday | -7d | last",
            "the first day, inclusive; `last` is the day after those that the destination has",
        ),
        OptionDoc::new(
            "to",
            "YYYY-MM-DD | today | yesterday | -7d",
            "the last day, inclusive",
        ),
        OptionDoc::new(
            "start",
            "YYYY-MM-DD | -90d",
            "the first day ever wanted; `from = \"last\"` needs it",
        ),
        OptionDoc::new(
            "lookback",
            "days such as 5d",
            "moves `from` back to days that may still change, to catch late events",
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
        RETRY[0],
        RETRY[1],
        RETRY[2],
        RETRY[3],
        RETRY[4],
        RETRY[5],
        RETRY[6],
        RETRY[7],
        LIMITS,
        OptionDoc::new(
            "limits.per_second",
            "number, default 3",
            "requests in any second",
        ),
        PER_HOUR,
        OptionDoc::new(
            "limits.concurrent",
            "number, default 100",
            "requests at the same time",
        ),
    ],
};

/// `mixpanel_profiles`.
pub(crate) const PROFILES: ComponentDoc = ComponentDoc {
    name: "mixpanel_profiles",
    about: "profiles of a Mixpanel project, by page",
    options: &[
        CONNECTION,
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
        RETRY[0],
        RETRY[1],
        RETRY[2],
        RETRY[3],
        RETRY[4],
        RETRY[5],
        RETRY[6],
        RETRY[7],
        LIMITS,
        OptionDoc::new(
            "limits.per_second",
            "number, default without a limit",
            "requests in any second",
        ),
        PER_HOUR,
        OptionDoc::new(
            "limits.concurrent",
            "number, default 5",
            "requests at the same time",
        ),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::quota::LimitOptions;
    use crate::http::retry::RetryOptions;
    use crate::options::{EventsOptions, ProfilesOptions};
    use mixflow_core::testing::{assert_described, assert_table_described};

    #[test]
    fn every_option_is_described() {
        assert_described::<EventsOptions>(&EVENTS);
        assert_described::<ProfilesOptions>(&PROFILES);
        for doc in [&EVENTS, &PROFILES] {
            assert_table_described::<RetryOptions>(doc, "retry");
            assert_table_described::<LimitOptions>(doc, "limits");
        }
    }
}
