-- Who has started runs, each found by one seek in idx_run_inputs_actor. $1 tenant, $2 at most so many.
WITH RECURSIVE found (value) AS (
    (SELECT trigger_actor FROM run_inputs WHERE tenant_id = $1 ORDER BY trigger_actor LIMIT 1)
    UNION ALL
    SELECT next.value
    FROM found CROSS JOIN LATERAL (
        SELECT trigger_actor AS value FROM run_inputs WHERE tenant_id = $1 AND trigger_actor > found.value ORDER BY trigger_actor LIMIT 1
    ) AS next
)
SELECT value FROM found LIMIT $2
