SELECT seq, at, kind, data::text AS data
FROM run_signals
WHERE run_key = (SELECT key FROM runs WHERE id = $1) AND seq > $2
ORDER BY seq
