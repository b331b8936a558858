-- The names of labels, each found by one seek in pk_run_labels. $1 tenant, $2 at most so many.
WITH RECURSIVE found(value) AS (
    SELECT min(name) FROM run_labels WHERE tenant_id = $1
    UNION ALL
    SELECT (SELECT min(name) FROM run_labels WHERE tenant_id = $1 AND name > found.value)
    FROM found WHERE found.value IS NOT NULL
)
SELECT value FROM found WHERE value IS NOT NULL
LIMIT +$2;
