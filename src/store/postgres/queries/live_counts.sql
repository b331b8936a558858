-- $1 tenant. Live runs by lane and session (idx_runs_live).
SELECT lane, session_id, count(*) FILTER (WHERE claimed_by IS NULL) AS queued, count(claimed_by) AS running
FROM runs
WHERE tenant_id = $1 AND ended_at IS NULL
GROUP BY lane, session_id
ORDER BY lane, session_id NULLS FIRST
