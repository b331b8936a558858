-- $1 tenant, $2 artifact.
SELECT x.id, runs.id AS run_id, x.tenant_id, x.step, x.name, x.kind, x.media_type, x.size, x.digest, x.artifact, x.url,
    x.created_at, x.created_by
FROM artifacts AS x JOIN runs ON runs.key = x.run_key
WHERE x.id = $2 AND x.tenant_id = $1
