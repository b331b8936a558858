-- $1 tenant, $2 session, $3 name or NULL, $4 whether archived or NULL, $5 now.
UPDATE sessions
SET name = coalesce($3, name),
    archived_at = CASE WHEN $4::boolean IS NULL THEN archived_at WHEN $4 THEN coalesce(archived_at, $5) END
WHERE id = $2 AND tenant_id = $1
RETURNING id, tenant_id, name, labels::text, created_at, created_by, archived_at
