-- $1 at most so many. Durable events out of order: each comes after the one before it, with nothing durable between
-- its `prev` and itself, and the last one is the head of its run while the rows are there.
SELECT hex(runs.id) || ' at ' || e.sequence
FROM (
    SELECT run_key, sequence, prev, lag(sequence) OVER run AS before, lead(sequence) OVER run AS after
    FROM run_events
    WINDOW run AS (PARTITION BY run_key ORDER BY sequence)
) AS e
JOIN runs ON runs.key = e.run_key
WHERE e.prev >= e.sequence OR e.before > e.prev OR (e.after IS NULL AND e.sequence <> runs.sequence_head)
ORDER BY 1
LIMIT +$1;
