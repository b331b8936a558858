-- $1 tenant, $2 name, $3 digest, $4 plan, $5 bundle or NULL, $6 origin, $7 created_at, $8 source, $9 whether a
-- version of the same origin and digest is enough. Answers the latest version, and whether it is new.
BEGIN IMMEDIATE;

INSERT INTO runbooks (tenant_id, name, latest) VALUES ($1, $2, 0)
ON CONFLICT (tenant_id, name) DO NOTHING;

INSERT INTO runbook_versions (
    runbook_key, version, tenant_id, digest, plan_digest, bundle_digest, origin, created_at, source
)
SELECT r.key, r.latest + 1, r.tenant_id, $3, $4, $5, $6, $7, $8
FROM runbooks AS r
LEFT JOIN runbook_versions AS latest ON latest.runbook_key = r.key AND latest.version = r.latest
WHERE r.tenant_id = $1 AND r.name = $2 AND latest.digest IS NOT $3
    AND NOT ($9 AND $3 IS (
        SELECT v.digest FROM runbook_versions AS v
        WHERE v.runbook_key = r.key AND v.origin = $6 ORDER BY v.version DESC LIMIT 1
    ));

-- `changes()` is the number of versions that were just inserted.
UPDATE runbooks SET latest = latest + 1 WHERE tenant_id = $1 AND name = $2 AND changes() > 0;

SELECT r.name, v.version, v.digest, v.plan_digest, v.bundle_digest, v.origin, v.created_at, changes() > 0 AS created
FROM runbooks AS r JOIN runbook_versions AS v ON v.runbook_key = r.key AND v.version = r.latest
WHERE r.tenant_id = $1 AND r.name = $2;

COMMIT;
