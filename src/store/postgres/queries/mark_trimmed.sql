-- $1 before when, $2 at most. Runs whose rows are gone, in the order in which rows go.
WITH due AS MATERIALIZED (
    SELECT run_key
    FROM run_archives
    WHERE NOT trimmed AND archived_at < $1
    ORDER BY archived_at, run_key
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
UPDATE run_archives AS a
SET trimmed = true
FROM due
WHERE a.run_key = due.run_key AND NOT EXISTS (SELECT 1 FROM run_events AS e WHERE e.run_key = due.run_key)
