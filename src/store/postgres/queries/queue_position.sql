-- $1 run. The claimable runs of its lane that a claim takes before it, and itself (idx_runs_claimable).
SELECT
    (
        SELECT count(*) FROM runs AS other
        WHERE other.claimable AND other.lane = run.lane AND other.priority > run.priority
    ) + (
        SELECT count(*) FROM runs AS other
        WHERE other.claimable AND other.lane = run.lane AND other.priority = run.priority
            AND (other.created_at, other.id) <= (run.created_at, run.id)
    )
FROM runs AS run
WHERE run.id = $1 AND run.claimable
