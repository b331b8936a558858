-- $1 tenant, $2 name, $3 version or NULL for the latest.
SELECT r.name, v.version, v.digest, v.plan_digest, v.bundle_digest, v.origin, v.created_at
FROM runbooks AS r JOIN runbook_versions AS v ON v.runbook_key = r.key AND v.version = coalesce($3, r.latest)
WHERE r.tenant_id = $1 AND r.name = $2
