-- The values of one label, each found by one seek in pk_run_labels. $1 tenant, $2 name, $3 at most so many.
WITH RECURSIVE found (value) AS (
    (SELECT value FROM run_labels WHERE tenant_id = $1 AND name = $2 ORDER BY value LIMIT 1)
    UNION ALL
    SELECT next.value
    FROM found CROSS JOIN LATERAL (
        SELECT value AS value FROM run_labels WHERE tenant_id = $1 AND name = $2 AND value > found.value ORDER BY value LIMIT 1
    ) AS next
)
SELECT value FROM found LIMIT $3
