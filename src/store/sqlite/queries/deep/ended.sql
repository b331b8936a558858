-- $1 at most so many; $2 the words of steps to which nothing more happens (JSON array). Ended runs that may still be
-- claimed, that wait, or that have a step that has not ended.
SELECT hex(runs.id)
FROM runs
WHERE runs.ended_at IS NOT NULL
    AND (runs.claimable OR runs.wake_at IS NOT NULL OR runs.waiting_on IS NOT NULL
        OR EXISTS (
            SELECT 1 FROM run_steps AS s
            WHERE s.run_key = runs.key AND s.status NOT IN (SELECT value FROM json_each($2))
        ))
ORDER BY runs.id
LIMIT +$1;
