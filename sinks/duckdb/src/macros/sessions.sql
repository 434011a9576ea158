-- The sessions of each person: rows with at most `gap` from one to the next.
CREATE OR REPLACE MACRO mf_sessions(gap, events := 'events') AS TABLE
WITH
    rows_in_order AS (
        SELECT
            distinct_id,
            event_time,
            lag(event_time) OVER (PARTITION BY distinct_id ORDER BY event_time) AS before
        FROM query_table(events)
        WHERE distinct_id <> ''
    ),
    -- By time, not by row: rows of one moment come in any order.
    numbered AS (
        SELECT
            distinct_id,
            event_time,
            sum(CASE WHEN event_time <= before + gap THEN 0 ELSE 1 END)
                OVER (PARTITION BY distinct_id ORDER BY event_time) AS session
        FROM rows_in_order
    )
SELECT
    distinct_id,
    CAST(session AS BIGINT) AS session,
    min(event_time) AS started_at,
    max(event_time) AS ended_at,
    count(*) AS n
FROM numbered
GROUP BY distinct_id, session
ORDER BY distinct_id, session
