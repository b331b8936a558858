-- $1 runs, $2 how many events at most, $3 how many bytes of data, give or take the last event. LATERAL: run by run, each
-- out of its part of pk_run_events.
SELECT place, sequence, prev, at, category, action, data, bytes
FROM (
    SELECT r.place, e.sequence, e.prev, e.at, e.category, e.action, e.data::text AS data,
        (sum(octet_length(e.data::text)) OVER (ORDER BY r.place, e.sequence ROWS UNBOUNDED PRECEDING))::bigint AS bytes
    FROM unnest($1::uuid[]) WITH ORDINALITY AS r (id, place)
    CROSS JOIN LATERAL (
        SELECT sequence, prev, at, category, action, data
        FROM run_events
        WHERE run_key = (SELECT key FROM runs WHERE runs.id = r.id)
        ORDER BY sequence
        LIMIT $2
    ) AS e
) AS read
WHERE bytes - octet_length(data) < $3
ORDER BY place, sequence
LIMIT $2
