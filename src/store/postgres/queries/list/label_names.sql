-- The names of labels, each found by one seek in pk_run_labels. $1 tenant, $2 at most so many.
WITH RECURSIVE found (value) AS (
    (SELECT name FROM run_labels WHERE tenant_id = $1 ORDER BY name LIMIT 1)
    UNION ALL
    SELECT next.value
    FROM found CROSS JOIN LATERAL (
        SELECT name AS value FROM run_labels WHERE tenant_id = $1 AND name > found.value ORDER BY name LIMIT 1
    ) AS next
)
SELECT value FROM found LIMIT $2
