-- $1 at most so many. Runs whose events are neither in rows nor in an archive.
SELECT hex(runs.id)
FROM runs
WHERE runs.sequence_head > 0
    AND NOT EXISTS (SELECT 1 FROM run_events AS e WHERE e.run_key = runs.key)
    AND NOT EXISTS (SELECT 1 FROM run_archives AS a WHERE a.run_key = runs.key)
ORDER BY runs.id
LIMIT +$1;
