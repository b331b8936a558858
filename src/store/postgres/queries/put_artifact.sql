-- $1 id, $2 run, $3 tenant, $4 step, $5 name, $6 kind, $7 media type, $8 size, $9 digest, $10 key or $11 URL of the content,
-- $12 when, $13 by whom. No row: there is no such run. Else whether it was added; if not, there is one of this name, and
-- whoever was adding it at the same time is done.
WITH run AS (
    SELECT key FROM runs WHERE id = $2 AND tenant_id = $3
), added AS (
    INSERT INTO artifacts (
        id, run_key, tenant_id, step, name, kind, media_type, size, digest, artifact, url, created_at, created_by
    )
    SELECT $1, key, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 FROM run
    ON CONFLICT (run_key, name, step) DO NOTHING
    RETURNING 1
)
SELECT EXISTS (SELECT 1 FROM added) FROM run
