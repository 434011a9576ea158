-- Rows and people of each day; of all events if `event` is NULL.
CREATE OR REPLACE MACRO mf_daily(event, events := 'events') AS TABLE
SELECT
    CAST(event_time AS DATE) AS day,
    count(*) AS n,
    count(DISTINCT nullif(distinct_id, '')) AS people
FROM query_table(events)
WHERE event IS NULL OR event_name = event
GROUP BY 1
ORDER BY 1
