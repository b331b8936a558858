-- $1 id, $2 lease in microseconds or NULL. No row where there is no such worker or its lease has run out.
UPDATE workers
SET beat_at = t.now, lease_until = t.now + $2
FROM (SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000 AS now) AS t
WHERE workers.id = $1 AND workers.lost_at IS NULL
    AND (workers.lease_until IS NULL OR workers.lease_until >= t.now)
RETURNING beat_at, draining;
