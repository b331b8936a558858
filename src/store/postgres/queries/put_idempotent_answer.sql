-- $1 tenant, $2 key, $3 digest of the request, $4 status, $5 body, $6 created at.
INSERT INTO idempotency_keys (tenant_id, key, body_digest, status, body, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant_id, key) DO NOTHING
