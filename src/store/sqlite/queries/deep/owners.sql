-- $1 at most so many. Owned runs whose owner is unknown.
SELECT hex(r.id)
FROM runs AS r LEFT JOIN workers AS w ON w.id = r.claimed_by
WHERE r.claimed_by IS NOT NULL AND r.ended_at IS NULL AND w.id IS NULL
ORDER BY r.id
LIMIT +$1;
