SELECT id, epoch FROM runs
WHERE claimed_by = $1 AND ended_at IS NULL
ORDER BY id
