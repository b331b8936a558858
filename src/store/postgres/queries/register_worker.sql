-- $1 id, $2 tenant, $3 host, $4 pid, $5 version, $6 started_at, $7 lanes, $8 slots, $9 labels, $10 draining,
-- $11 lease in microseconds or NULL. Of a known worker it is a beat; no row where its lease has run out.
INSERT INTO workers AS w (
    id, tenant_id, host, pid, version, started_at, lanes, slots, labels, draining, beat_at, lease_until
)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, t.now, t.now + $11 * interval '1 microsecond'
FROM (SELECT clock_timestamp() AS now) AS t
ON CONFLICT (id) DO UPDATE
SET beat_at = clock_timestamp(), lease_until = clock_timestamp() + $11 * interval '1 microsecond'
-- By the time when the row was free, not when the statement began.
WHERE w.lost_at IS NULL AND (w.lease_until IS NULL OR w.lease_until >= clock_timestamp())
RETURNING beat_at, draining
