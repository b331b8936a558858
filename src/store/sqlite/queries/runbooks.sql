-- The latest version of each runbook, by name. $1 tenant, $2 only names after this one, $3 at most so many.
SELECT r.name, v.version, v.digest, v.plan_digest, v.bundle_digest, v.origin, v.created_at
FROM runbooks AS r CROSS JOIN runbook_versions AS v ON v.runbook_key = r.key AND v.version = r.latest
WHERE r.tenant_id = $1 AND r.name > $2
ORDER BY r.name
LIMIT +$3;
