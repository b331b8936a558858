-- $1 tenant, $2 session, $3 name or NULL, $4 whether archived or NULL, $5 now.
UPDATE sessions
SET name = coalesce($3, name), archived_at = iif($4 IS NULL, archived_at, iif($4, coalesce(archived_at, $5), NULL))
WHERE id = $2 AND tenant_id = $1
RETURNING id, tenant_id, name, labels, created_at, created_by, archived_at;
