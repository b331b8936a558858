-- $1 tenant, $2 the id before the first, or NULL, $3 limit.
SELECT
    w.id, w.tenant_id, w.host, w.pid, w.version, w.started_at, w.lanes, w.slots, w.labels, w.draining, w.beat_at,
    max(t.now - w.beat_at, 0) AS beat_age,
    w.lease_until,
    w.lost_at IS NOT NULL OR coalesce(w.lease_until < t.now, false) AS is_expired,
    (SELECT count(*) FROM runs WHERE claimed_by = w.id AND ended_at IS NULL) AS running
FROM workers AS w CROSS JOIN (SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000 AS now) AS t
WHERE w.tenant_id = $1 AND ($2 IS NULL OR w.id > $2)
ORDER BY w.id
LIMIT +$3;
