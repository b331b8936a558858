SELECT id, tenant_id, ended_at, sequence_head
FROM runs
WHERE ended_at IS NOT NULL AND archived_at IS NULL
ORDER BY ended_at
LIMIT +$1;
