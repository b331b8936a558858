-- $1 id, $2 tenant, $3 name, $4 labels, $5 created at, $6 by; $7 key, $8 digest of the request, $9 status, $10 body and
-- $11 time of the answer to keep; $7 NULL: none. Answers whether it was created.
--
-- A request with the same key at the same time waits for this one at the unique index of the keys: if this one ends well,
-- that one finds the key known; if not, that one creates.
WITH kept AS (
    INSERT INTO idempotency_keys (tenant_id, key, body_digest, status, body, created_at)
    SELECT $2, $7, $8, $9, $10, $11 WHERE $7::text IS NOT NULL
    ON CONFLICT (tenant_id, key) DO NOTHING
    RETURNING 1
), created AS (
    INSERT INTO sessions (id, tenant_id, name, labels, created_at, created_by)
    SELECT $1, $2, $3, $4::jsonb, $5, $6
    WHERE $7 IS NULL OR EXISTS (SELECT 1 FROM kept)
    RETURNING 1
)
SELECT EXISTS (SELECT 1 FROM created)
