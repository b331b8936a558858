-- $1 id, $2 tenant, $3 name, $4 labels, $5 created at, $6 by; $7 key, $8 digest of the request, $9 status, $10 body and
-- $11 time of the answer to keep; $7 NULL: none.
BEGIN IMMEDIATE;

SELECT abs(-9223372036854775808) FROM idempotency_keys WHERE tenant_id = $2 AND key = $7;

INSERT INTO sessions (id, tenant_id, name, labels, created_at, created_by) VALUES ($1, $2, $3, $4, $5, $6);

INSERT INTO idempotency_keys (tenant_id, key, body_digest, status, body, created_at)
SELECT $2, $7, $8, $9, $10, $11 WHERE $7 IS NOT NULL;

COMMIT;
