-- By name, then step (pk_artifacts). $1 run, $2 and $3 only after this name and step, $4 at most so many.
SELECT x.id, $1 AS run_id, x.tenant_id, x.step, x.name, x.kind, x.media_type, x.size, x.digest, x.artifact, x.url,
    x.created_at, x.created_by
FROM artifacts AS x
WHERE x.run_key = (SELECT key FROM runs WHERE id = $1) AND (x.name, x.step) > ($2, $3)
ORDER BY x.name, x.step
LIMIT $4
