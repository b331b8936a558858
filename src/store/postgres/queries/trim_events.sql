-- $1 before when, $2 rows at most. Answers how many rows went. What another process is trimming is left to it.
WITH due AS MATERIALIZED (
    SELECT run_key, archived_at
    FROM run_archives
    WHERE NOT trimmed AND archived_at < $1
    ORDER BY archived_at, run_key
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), old AS MATERIALIZED (
    SELECT e.run_key, e.sequence
    FROM due
    CROSS JOIN LATERAL (
        SELECT run_key, sequence FROM run_events WHERE run_key = due.run_key ORDER BY sequence LIMIT $2
    ) AS e
    ORDER BY due.archived_at, e.run_key, e.sequence
    LIMIT $2
), gone AS (
    DELETE FROM run_events AS e USING old WHERE e.run_key = old.run_key AND e.sequence = old.sequence
    RETURNING 1
)
SELECT count(*) FROM gone
