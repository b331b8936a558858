-- $1 tenant, $2 name, $3 digest, $4 plan, $5 bundle or NULL, $6 origin, $7 created_at, $8 source, $9 the latest version
-- before, 0 if there is none. Answers the version that was made. No row: somebody else has made one meanwhile; the row of
-- the runbook is where puts at the same time wait for each other.
WITH runbook AS (
    INSERT INTO runbooks (tenant_id, name, latest) VALUES ($1, $2, 1)
    ON CONFLICT (tenant_id, name) DO UPDATE SET latest = runbooks.latest + 1 WHERE runbooks.latest = $9
    RETURNING key, tenant_id, latest
)
INSERT INTO runbook_versions (
    runbook_key, version, tenant_id, digest, plan_digest, bundle_digest, origin, created_at, source
)
SELECT key, latest, tenant_id, $3, $4, $5, $6, $7, $8 FROM runbook
RETURNING $2 AS name, version, digest, plan_digest, bundle_digest, origin, created_at
