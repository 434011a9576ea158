-- Of the people who did `first` for the first time on a day, how many did `again`
-- so many days later; NULL stands for any event.
CREATE OR REPLACE MACRO mf_retention(first, again, events := 'events') AS TABLE
WITH
    began AS (
        SELECT distinct_id, min(event_time) AS began_at
        FROM query_table(events)
        WHERE (first IS NULL OR event_name = first) AND distinct_id <> ''
        GROUP BY distinct_id
    ),
    cohorts AS (
        SELECT CAST(began_at AS DATE) AS cohort, count(*) AS size FROM began GROUP BY 1
    ),
    last_day AS (
        SELECT CAST(max(event_time) AS DATE) AS last_day FROM query_table(events)
    ),
    cells AS (
        SELECT cohort, size, unnest(range(0, last_day - cohort + 1)) AS day
        FROM cohorts, last_day
    ),
    returned AS (
        SELECT
            CAST(b.began_at AS DATE) AS cohort,
            CAST(e.event_time AS DATE) - CAST(b.began_at AS DATE) AS day,
            count(DISTINCT e.distinct_id) AS people
        FROM began AS b
        JOIN query_table(events) AS e
            ON e.distinct_id = b.distinct_id AND e.event_time >= b.began_at
        WHERE again IS NULL OR e.event_name = again
        GROUP BY 1, 2
    )
SELECT
    c.cohort,
    c.size,
    c.day,
    coalesce(r.people, 0) AS people,
    coalesce(r.people, 0) / c.size AS share
FROM cells AS c
LEFT JOIN returned AS r ON r.cohort = c.cohort AND r.day = c.day
ORDER BY 1, 3
