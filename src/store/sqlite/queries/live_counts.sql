-- $1 tenant. Live runs and owned ones by lane and session, each counted in an index.
SELECT lane, session_id, sum(live) - sum(owned) AS queued, sum(owned) AS running
FROM (
    SELECT lane, session_id, count(*) AS live, 0 AS owned
    FROM runs INDEXED BY idx_runs_live
    WHERE tenant_id = $1 AND ended_at IS NULL
    GROUP BY lane, session_id
    UNION ALL
    SELECT lane, session_id, 0, count(*)
    FROM runs INDEXED BY idx_runs_owner
    WHERE claimed_by IS NOT NULL AND ended_at IS NULL AND tenant_id = $1
    GROUP BY lane, session_id
)
GROUP BY lane, session_id
ORDER BY lane, session_id;
