-- Who has started runs, each found by one seek in idx_run_inputs_actor. $1 tenant, $2 at most so many.
WITH RECURSIVE found(value) AS (
    SELECT min(trigger_actor) FROM run_inputs WHERE tenant_id = $1
    UNION ALL
    SELECT (SELECT min(trigger_actor) FROM run_inputs WHERE tenant_id = $1 AND trigger_actor > found.value)
    FROM found WHERE found.value IS NOT NULL
)
SELECT value FROM found WHERE value IS NOT NULL
LIMIT +$2;
