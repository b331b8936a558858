SELECT x.id, $1 AS run_id, x.tenant_id, x.step, x.name, x.kind, x.media_type, x.size, x.digest, x.artifact, x.url,
    x.created_at, x.created_by
FROM artifacts AS x
WHERE x.run_key = (SELECT key FROM runs WHERE id = $1) AND (x.name, x.step) > ($2, $3)
ORDER BY x.name, x.step
LIMIT +$4;
