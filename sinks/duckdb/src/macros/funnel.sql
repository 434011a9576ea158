-- People who do the steps one after the other, all of them `within` a time from
-- their first. A person who begins several times counts as often as the best of
-- these goes: each row knows the latest beginning that leads to it.
CREATE OR REPLACE MACRO mf_funnel(steps, within, events := 'events') AS TABLE
WITH RECURSIVE
    wanted AS (
        SELECT unnest(steps) AS event, unnest(range(1, len(steps) + 1)) AS step
    ),
    done AS MATERIALIZED (
        SELECT w.step, e.distinct_id, e.event_time
        FROM query_table(events) AS e
        JOIN wanted AS w ON e.event_name = w.event
        WHERE e.distinct_id <> ''
    ),
    reached AS (
        SELECT step, distinct_id, event_time, event_time AS began FROM done WHERE step = 1
        UNION ALL
        SELECT step, distinct_id, event_time, began
        FROM (
            SELECT step, distinct_id, event_time, is_next, max(began) OVER (
                PARTITION BY distinct_id ORDER BY event_time, is_next DESC
                ROWS UNBOUNDED PRECEDING
            ) AS began
            FROM (
                SELECT step, distinct_id, event_time, began, false AS is_next FROM reached
                UNION ALL
                SELECT step, distinct_id, event_time, NULL, true
                FROM done
                WHERE step = (SELECT max(step) + 1 FROM reached)
            )
        )
        WHERE is_next AND event_time <= began + within
    ),
    counted AS (
        SELECT step, count(DISTINCT distinct_id) AS people FROM reached GROUP BY step
    )
SELECT
    w.step,
    w.event,
    coalesce(c.people, 0) AS people,
    coalesce(c.people, 0) / (SELECT people FROM counted WHERE step = 1) AS share
FROM wanted AS w
LEFT JOIN counted AS c ON c.step = w.step
ORDER BY 1
