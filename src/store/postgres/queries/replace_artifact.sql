-- The arguments of `put_artifact.sql`. Answers the artifact that was replaced: the lock on it is taken first, and what
-- the lock gives is the row as the last replacement left it, so each one is answered to exactly one caller.
WITH old AS (
    SELECT x.*
    FROM artifacts AS x
    WHERE x.run_key = (SELECT key FROM runs WHERE id = $2 AND tenant_id = $3) AND x.name = $5 AND x.step = $4
    FOR UPDATE
)
UPDATE artifacts AS n
SET kind = $6, media_type = $7, size = $8, digest = $9, artifact = $10, url = $11, created_at = $12, created_by = $13
FROM old AS x
WHERE n.run_key = x.run_key AND n.name = x.name AND n.step = x.step AND $1::uuid IS NOT NULL
RETURNING x.id, $2 AS run_id, x.tenant_id, x.step, x.name, x.kind, x.media_type, x.size, x.digest, x.artifact, x.url,
    x.created_at, x.created_by
