-- The names of runbooks that have runs, each found by one seek in idx_run_inputs_runbook. $1 tenant, $2 at most so many.
WITH RECURSIVE found (value) AS (
    (SELECT runbook FROM run_inputs WHERE tenant_id = $1 ORDER BY runbook LIMIT 1)
    UNION ALL
    SELECT next.value
    FROM found CROSS JOIN LATERAL (
        SELECT runbook AS value FROM run_inputs WHERE tenant_id = $1 AND runbook > found.value ORDER BY runbook LIMIT 1
    ) AS next
)
SELECT value FROM found LIMIT $2
