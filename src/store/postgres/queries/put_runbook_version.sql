-- $1 runbook, $2 digest, $3 plan, $4 bundle or NULL, $5 origin, $6 created_at, $7 source, $8 whether a version of the same
-- origin and digest is enough. In the transaction of `lock_runbook.sql`. A row if there is a version to be made.
WITH made AS (
    INSERT INTO runbook_versions (
        runbook_key, version, tenant_id, digest, plan_digest, bundle_digest, origin, created_at, source
    )
    SELECT r.key, r.latest + 1, r.tenant_id, $2, $3, $4, $5, $6, $7
    FROM runbooks AS r
    LEFT JOIN runbook_versions AS latest ON latest.runbook_key = r.key AND latest.version = r.latest
    WHERE r.key = $1 AND latest.digest IS DISTINCT FROM $2
        AND NOT ($8 AND $2 IS NOT DISTINCT FROM (
            SELECT v.digest FROM runbook_versions AS v
            WHERE v.runbook_key = r.key AND v.origin = $5 ORDER BY v.version DESC LIMIT 1
        ))
    RETURNING runbook_key, version
)
UPDATE runbooks SET latest = made.version FROM made WHERE runbooks.key = made.runbook_key
RETURNING made.version
