SELECT count(*)
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS mine (id, tenant_id, created_at)
JOIN runs ON runs.id = mine.id AND runs.tenant_id = mine.tenant_id AND runs.created_at = mine.created_at
