-- $1 a JSON array of runs; $2 how many events at most.
SELECT r.key AS place, e.sequence, e.prev, e.at, e.category, e.action, e.data
FROM json_each($1) AS r
CROSS JOIN run_events AS e ON e.run_key = (SELECT key FROM runs WHERE id = unhex(r.value))
ORDER BY r.key, e.sequence
LIMIT $2;
