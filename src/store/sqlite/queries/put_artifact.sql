-- Answers the artifact that was replaced.
BEGIN IMMEDIATE;

SELECT x.id, runs.id AS run_id, x.tenant_id, x.step, x.name, x.kind, x.media_type, x.size, x.digest, x.artifact, x.url,
    x.created_at, x.created_by
FROM artifacts AS x JOIN runs ON runs.key = x.run_key
WHERE runs.id = $2 AND x.name = $5 AND x.step = $4;

INSERT INTO artifacts (
    id, run_key, tenant_id, step, name, kind, media_type, size, digest, artifact, url, created_at, created_by
)
SELECT $1, key, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 FROM runs WHERE id = $2 AND tenant_id = $3
-- "WHERE" above tells the parser that the ON below is not a join's.
ON CONFLICT (run_key, name, step) DO UPDATE
SET kind = excluded.kind, media_type = excluded.media_type, size = excluded.size, digest = excluded.digest,
    artifact = excluded.artifact, url = excluded.url, created_at = excluded.created_at,
    created_by = excluded.created_by;

-- No such run: abs() of the smallest integer is an error.
SELECT abs(-9223372036854775808 + 0 * changes()) WHERE changes() <> 1;

COMMIT;
