-- $1 tenant, $2 key.
SELECT body_digest, status, body, created_at FROM idempotency_keys WHERE tenant_id = $1 AND key = $2
