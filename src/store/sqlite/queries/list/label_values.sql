-- The values of one label, each found by one seek in pk_run_labels. $1 tenant, $2 name, $3 at most so many.
WITH RECURSIVE found(value) AS (
    SELECT min(value) FROM run_labels WHERE tenant_id = $1 AND name = $2
    UNION ALL
    SELECT (SELECT min(value) FROM run_labels WHERE tenant_id = $1 AND name = $2 AND value > found.value)
    FROM found WHERE found.value IS NOT NULL
)
SELECT value FROM found WHERE value IS NOT NULL
LIMIT +$3;
