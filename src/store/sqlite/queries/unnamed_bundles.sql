-- $1 digests of bundles. A plan has that of its files in its JSON.
SELECT b.value
FROM json_each($1) AS b
WHERE NOT EXISTS (SELECT 1 FROM runbook_versions AS v WHERE v.bundle_digest = unhex(b.value))
    AND NOT EXISTS (
        SELECT 1
        FROM plans AS p
        WHERE CAST(p.plan AS TEXT) ->> 'files' = b.value
            AND EXISTS (SELECT 1 FROM run_inputs AS i WHERE i.tenant_id = p.tenant_id AND i.plan_digest = p.digest)
    );
