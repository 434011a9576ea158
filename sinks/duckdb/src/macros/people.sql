-- The rows of a table of events, each with what is known of its person: the
-- newest profile of that id.
CREATE OR REPLACE MACRO mf_people(events, profiles := 'profiles') AS TABLE
SELECT e.*, p.last_seen AS person_last_seen, p.properties AS person
FROM query_table(events) AS e
LEFT JOIN (
    SELECT distinct_id, last_seen, properties
    FROM query_table(profiles)
    WHERE distinct_id <> ''
    QUALIFY row_number() OVER (
        PARTITION BY distinct_id ORDER BY last_seen DESC NULLS LAST, CAST(properties AS VARCHAR)
    ) = 1
) AS p ON p.distinct_id = e.distinct_id
