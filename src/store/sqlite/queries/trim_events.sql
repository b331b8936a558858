-- $1 before when, $2 rows at most. Answers a row if there may be more to do.
BEGIN IMMEDIATE;

DELETE FROM run_events
WHERE rowid IN (
    SELECT e.rowid
    FROM run_archives AS a CROSS JOIN run_events AS e ON e.run_key = a.run_key
    WHERE a.trimmed = 0 AND a.archived_at < $1
    ORDER BY a.archived_at, a.run_key, e.sequence
    LIMIT +$2
);

SELECT 1 WHERE changes() = $2;

UPDATE run_archives
SET trimmed = 1
WHERE run_key IN (
    SELECT a.run_key
    -- Rows go in this order, so what has just become empty is at the beginning.
    FROM (
        SELECT run_key
        FROM run_archives
        WHERE trimmed = 0 AND archived_at < $1
        ORDER BY archived_at, run_key
        LIMIT +$2
    ) AS a
    WHERE NOT EXISTS (SELECT 1 FROM run_events AS e WHERE e.run_key = a.run_key)
);

COMMIT;
