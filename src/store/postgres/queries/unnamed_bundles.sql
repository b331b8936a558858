-- $1 digests of bundles. A plan has that of its files in its JSON.
SELECT b.digest
FROM unnest($1::text[]) AS b (digest)
WHERE NOT EXISTS (SELECT 1 FROM runbook_versions AS v WHERE v.bundle_digest = decode(b.digest, 'hex'))
    AND NOT EXISTS (
        SELECT 1
        FROM plans AS p
        WHERE position(convert_to('"files":"' || b.digest || '"', 'UTF8') IN p.plan) > 0
            AND EXISTS (SELECT 1 FROM run_inputs AS i WHERE i.tenant_id = p.tenant_id AND i.plan_digest = p.digest)
    )
