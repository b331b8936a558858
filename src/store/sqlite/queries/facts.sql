-- The category comes before the data in a row, so that the data of other events is never read.
SELECT sequence, prev, at, category, action, data
FROM run_events
WHERE run_key = (SELECT key FROM runs WHERE id = $1) AND sequence > $2 AND category = $4
ORDER BY sequence
LIMIT +$3;
