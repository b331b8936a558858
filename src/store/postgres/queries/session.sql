-- $1 tenant, $2 session.
SELECT id, tenant_id, name, labels::text, created_at, created_by, archived_at
FROM sessions
WHERE id = $2 AND tenant_id = $1
