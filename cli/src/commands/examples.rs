//! How each command is typed, for its help.

/// Commands by their path, each with lines to type behind `mixflow`.
pub(super) const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "run",
        &[
            "run daily.toml",
            "run daily.toml --from 2024-01-01 --to 2024-01-31",
            "run events.toml profiles.toml --report last.json",
            "run daily.toml --set sink.mode=replace --set run.workers=8",
        ],
    ),
    (
        "check",
        &["check pipelines/*.toml", "check --online daily.toml"],
    ),
    ("test", &["test pipelines/daily.toml"]),
    (
        "plan",
        &[
            "plan daily.toml",
            "plan daily.toml --from -30d",
            "plan daily.toml --from -90d --output plan.json",
        ],
    ),
    (
        "unit",
        &["unit run --plan plan.json --index 0 --stage s3://bucket/stage"],
    ),
    (
        "unit run",
        &[
            "unit run --plan plan.json --index 0 --stage s3://bucket/stage",
            "unit run --plan plan.json --key 5b054a1f11234e84b970626e8a191ec2 --stage /mnt/stage",
        ],
    ),
    (
        "unit read",
        &["unit read --plan plan.json --index 0 > day.arrows"],
    ),
    (
        "commit",
        &[
            "commit --plan plan.json --stage s3://bucket/stage",
            "commit --plan plan.json --stage /mnt/stage --allow-missing",
        ],
    ),
    (
        "status",
        &[
            "status daily.toml",
            "status daily.toml --from 2024-01-01 --format csv",
        ],
    ),
    (
        "gaps",
        &[
            "gaps daily.toml",
            "gaps daily.toml --from 2024-01-01 || echo 'days are missing'",
        ],
    ),
    ("vacuum", &["vacuum lake.toml"]),
    (
        "fetch",
        &[
            "fetch events --from -7d --to yesterday",
            "fetch profiles --parallel",
        ],
    ),
    (
        "fetch events",
        &[
            "fetch events --from 2024-01-01 --to 2024-01-31 --parallel",
            "fetch events signups --event 'Sign Up' --from -7d --to yesterday",
            "fetch events --from -7d --to yesterday --replace-window",
            "fetch events --stdout --from yesterday --to yesterday | head -1",
        ],
    ),
    (
        "fetch profiles",
        &[
            "fetch profiles --parallel --replace",
            "fetch profiles --where 'properties[\"plan\"] == \"pro\"' pro",
            "fetch profiles --cohort 12345 --output-property '$email' mails",
        ],
    ),
    (
        "replay",
        &[
            "replay daily.toml --set sink.table=again",
            "replay daily.toml --from 2024-01-01 --to 2024-01-31",
        ],
    ),
    (
        "archive",
        &[
            "archive list daily.toml",
            "archive verify daily.toml",
            "archive prune daily.toml --older-than 730d",
        ],
    ),
    (
        "archive list",
        &[
            "archive list daily.toml",
            "archive list daily.toml --format csv",
        ],
    ),
    ("archive verify", &["archive verify daily.toml"]),
    (
        "archive prune",
        &["archive prune daily.toml --older-than 730d"],
    ),
    (
        "connections",
        &["connections list", "connections test prod"],
    ),
    ("connections list", &["connections list"]),
    ("connections test", &["connections test prod"]),
    (
        "query",
        &[
            "query \"SELECT event_name, count(*) FROM events GROUP BY 1\"",
            "query \"SELECT properties->>'plan' AS plan FROM events LIMIT 5\"",
            "query -f active.sql --param day=2024-01-31",
            "query \"FROM events\" --output events.parquet",
            "query \"SELECT count(*) FROM events\" --scalar",
        ],
    ),
    ("sql", &["sql", "sql --db mixpanel.db", "sql <queries.sql"]),
    (
        "catalog",
        &[
            "catalog",
            "catalog --event 'Sign Up'",
            "catalog --format json >before.json; mixflow catalog --diff before.json",
            "catalog --toml >>daily.toml",
        ],
    ),
    ("tables", &["tables", "tables --db mixpanel.db"]),
    ("schema", &["schema events"]),
    ("metadata", &["metadata events"]),
    (
        "sample",
        &["sample events", "sample events -n 3 --format jsonl | jq ."],
    ),
    (
        "summarize",
        &["summarize events", "summarize events --plot"],
    ),
    ("drop", &["drop old_events", "drop old_events --yes"]),
    (
        "backfill",
        &[
            "backfill daily.toml --from 2023-01-01 --dry-run",
            "backfill daily.toml --from 2023-01-01 --max-requests 50",
        ],
    ),
    ("runs", &["runs", "runs -n 100 --format csv"]),
    ("report", &["report", "report --last 5 --output week.html"]),
    ("init", &["init daily.toml"]),
    ("new-sink", &["new-sink my-sink"]),
    (
        "completions",
        &[
            "completions bash >~/.local/share/bash-completion/completions/mixflow",
            "completions zsh >~/.zfunc/_mixflow",
            "completions fish >~/.config/fish/completions/mixflow.fish",
        ],
    ),
    ("man", &["man ~/.local/share/man/man1"]),
    (
        "components",
        &[
            "components",
            "components duckdb run source.retry",
            "components --library target/release/libmy_sink.so",
        ],
    ),
    ("schema-file", &["schema-file > pipeline.schema.json"]),
];
