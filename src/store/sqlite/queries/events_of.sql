-- $1 a JSON array of runs; $2 how many events at most; $3 how many bytes of data, give or take the last event.
SELECT place, sequence, prev, at, category, action, data, bytes
FROM (
    SELECT r.key AS place, e.sequence, e.prev, e.at, e.category, e.action, e.data,
        sum(length(e.data)) OVER (ORDER BY r.key, e.sequence ROWS UNBOUNDED PRECEDING) AS bytes
    FROM json_each($1) AS r
    CROSS JOIN run_events AS e ON e.run_key = (SELECT key FROM runs WHERE id = unhex(r.value))
)
WHERE bytes - length(data) < $3
ORDER BY place, sequence
LIMIT +$2;
