-- $1 JSON array of workers.
DELETE FROM workers
WHERE id IN (SELECT unhex(value) FROM json_each($1))
    AND NOT EXISTS (SELECT 1 FROM runs WHERE claimed_by = workers.id AND ended_at IS NULL);
