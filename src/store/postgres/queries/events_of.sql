-- $1 runs, $2 how many events at most. LATERAL: run by run, each out of its part of pk_run_events.
SELECT r.place, e.sequence, e.prev, e.at, e.category, e.action, e.data::text
FROM unnest($1::uuid[]) WITH ORDINALITY AS r (id, place)
CROSS JOIN LATERAL (
    SELECT sequence, prev, at, category, action, data
    FROM run_events
    WHERE run_key = (SELECT key FROM runs WHERE runs.id = r.id)
    ORDER BY sequence
    LIMIT $2
) AS e
ORDER BY r.place, e.sequence
LIMIT $2
