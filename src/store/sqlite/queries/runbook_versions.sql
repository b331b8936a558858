-- The versions of a runbook, newest first. $1 tenant, $2 name, $3 only versions before this one, $4 at most so many.
SELECT r.name, v.version, v.digest, v.plan_digest, v.bundle_digest, v.origin, v.created_at
FROM runbooks AS r CROSS JOIN runbook_versions AS v ON v.runbook_key = r.key AND v.version < $3
WHERE r.tenant_id = $1 AND r.name = $2
ORDER BY v.version DESC
LIMIT +$4;
