-- The digest of the last version that came from an origin (idx_runbook_versions_origin). $1 tenant, $2 name, $3 origin,
-- $4 only versions up to this one.
SELECT v.digest
FROM runbooks AS r JOIN runbook_versions AS v ON v.runbook_key = r.key
WHERE r.tenant_id = $1 AND r.name = $2 AND v.origin = $3 AND v.version <= $4
ORDER BY v.version DESC
LIMIT 1
