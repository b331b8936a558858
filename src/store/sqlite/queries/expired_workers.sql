-- $1 limit. The first row has the time, the others the dead.
BEGIN IMMEDIATE;

UPDATE workers
SET lost_at = t.now
FROM (SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000 AS now) AS t
WHERE workers.lost_at IS NULL AND workers.lease_until < t.now;

SELECT NULL, CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000;

SELECT id, 0
FROM (
    SELECT id FROM workers WHERE lost_at IS NOT NULL
    UNION
    SELECT claimed_by FROM runs
    WHERE claimed_by IS NOT NULL AND ended_at IS NULL
        AND NOT EXISTS (SELECT 1 FROM workers WHERE workers.id = runs.claimed_by)
)
ORDER BY id
LIMIT +$1;

COMMIT;
