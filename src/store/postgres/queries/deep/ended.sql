-- $1 at most so many; $2 the words of steps to which nothing more happens. Ended runs that may still be claimed, that
-- wait, or that have a step that has not ended.
SELECT runs.id::text
FROM runs
WHERE runs.ended_at IS NOT NULL
    AND (runs.claimable OR runs.wake_at IS NOT NULL OR runs.waiting_on IS NOT NULL
        OR EXISTS (SELECT 1 FROM run_steps AS s WHERE s.run_key = runs.key AND s.status <> ALL ($2::text[])))
ORDER BY runs.id
LIMIT $1
