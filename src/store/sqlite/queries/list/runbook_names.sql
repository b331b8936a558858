-- The names of runbooks that have runs, each found by one seek in idx_run_inputs_runbook. $1 tenant, $2 at most so many.
WITH RECURSIVE found(value) AS (
    SELECT min(runbook) FROM run_inputs WHERE tenant_id = $1
    UNION ALL
    SELECT (SELECT min(runbook) FROM run_inputs WHERE tenant_id = $1 AND runbook > found.value)
    FROM found WHERE found.value IS NOT NULL
)
SELECT value FROM found WHERE value IS NOT NULL
LIMIT +$2;
