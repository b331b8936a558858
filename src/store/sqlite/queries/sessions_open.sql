-- Newest first, without archived ones (idx_sessions_open). $1 tenant, $2 the last id, $3 at most so many.
SELECT id, tenant_id, name, labels, created_at, created_by, archived_at
FROM sessions
WHERE tenant_id = $1 AND id <= $2 AND archived_at IS NULL
ORDER BY id DESC
LIMIT +$3;
