-- $1 tenant, $2 name, $3 version.
SELECT v.source
FROM runbooks AS r JOIN runbook_versions AS v ON v.runbook_key = r.key AND v.version = $3
WHERE r.tenant_id = $1 AND r.name = $2
