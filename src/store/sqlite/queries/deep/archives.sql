-- $1 at most so many. Archives without their file's row, of runs that have not ended or do not know of it, and archives
-- that say that the rows of events are gone while there are some.
SELECT hex(runs.id)
FROM run_archives AS a
JOIN runs ON runs.key = a.run_key
LEFT JOIN archive_packs AS p ON p.id = a.pack_id
WHERE p.id IS NULL OR runs.ended_at IS NULL OR runs.archived_at IS NULL
    OR (a.trimmed AND EXISTS (SELECT 1 FROM run_events AS e WHERE e.run_key = a.run_key))
ORDER BY runs.id
LIMIT +$1;
