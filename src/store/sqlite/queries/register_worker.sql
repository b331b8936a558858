-- $1 id, $2 tenant, $3 host, $4 pid, $5 version, $6 started_at, $7 lanes, $8 slots, $9 labels, $10 draining,
-- $11 lease in microseconds or NULL. Of a known worker it is a beat; no row where its lease has run out.
INSERT INTO workers (
    id, tenant_id, host, pid, version, started_at, lanes, slots, labels, draining, beat_at, lease_until
)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, t.now, t.now + $11
FROM (SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000 AS now) AS t
WHERE true
ON CONFLICT (id) DO UPDATE
SET beat_at = excluded.beat_at, lease_until = excluded.lease_until
WHERE workers.lost_at IS NULL
    AND (workers.lease_until IS NULL OR workers.lease_until >= excluded.beat_at)
RETURNING beat_at, draining;
