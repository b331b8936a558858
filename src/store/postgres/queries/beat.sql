-- $1 id, $2 lease in microseconds or NULL. No row where there is no such worker or its lease has run out.
UPDATE workers
SET beat_at = clock_timestamp(), lease_until = clock_timestamp() + $2 * interval '1 microsecond'
WHERE id = $1 AND lost_at IS NULL AND (lease_until IS NULL OR lease_until >= clock_timestamp())
RETURNING beat_at, draining
