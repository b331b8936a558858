SELECT step_index, step_id, uses, status, attempts, started_at, ended_at, outputs::text AS outputs,
    error::text AS error
FROM run_steps
WHERE run_key = (SELECT key FROM runs WHERE id = $1)
ORDER BY step_index
