SELECT sequence, prev, at, category, action, data
FROM run_events
WHERE run_key = (SELECT key FROM runs WHERE id = $1) AND sequence > $2
ORDER BY sequence
LIMIT +$3;
