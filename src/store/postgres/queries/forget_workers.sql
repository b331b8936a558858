DELETE FROM workers
WHERE id = ANY ($1)
    AND NOT EXISTS (SELECT FROM runs WHERE claimed_by = workers.id AND ended_at IS NULL)
