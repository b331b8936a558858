-- $1 at most so many. Owned runs whose owner is unknown, or has had no lease for longer than a reaper may take.
SELECT r.id::text
FROM runs AS r LEFT JOIN workers AS w ON w.id = r.claimed_by
WHERE r.claimed_by IS NOT NULL AND r.ended_at IS NULL
    AND (w.id IS NULL OR w.lost_at < clock_timestamp() - interval '10 seconds'
        OR w.lease_until < clock_timestamp() - interval '10 seconds')
ORDER BY r.id
LIMIT $1
