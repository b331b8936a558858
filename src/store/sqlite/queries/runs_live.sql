-- Runs that have not ended, newest first (idx_runs_live).
-- $1 tenant; $2 and $3 the first and last id; $4 at most so many; $5 status words (JSON array) or NULL;
-- $6 runbook or NULL.
SELECT
    runs.id, runs.tenant_id, runs.lane, runs.priority, runs.status, runs.waiting_on, runs.claimable, runs.epoch,
    runs.version, runs.claimed_by, runs.claimed_at, runs.wake_at, runs.signal_seq,
    runs.signals_applied, runs.sequence_head, runs.stamp_head, runs.recoveries, runs.recoveries_applied,
    runs.created_at, runs.started_at, runs.ended_at, runs.error, i.runbook, i.plan_digest, i.steps_total,
    i.trigger_kind, i.trigger_actor, i.labels, i.params,
    -- An owned run was last heard of when it or its worker was.
    max(runs.heartbeat_at, coalesce(w.beat_at, runs.heartbeat_at)) AS heartbeat_at
FROM runs CROSS JOIN run_inputs AS i ON i.run_key = runs.key
LEFT JOIN workers AS w ON w.id = runs.claimed_by AND runs.ended_at IS NULL
WHERE runs.tenant_id = $1 AND runs.id BETWEEN $2 AND $3 AND runs.ended_at IS NULL
    AND ($5 IS NULL OR runs.status IN (SELECT value FROM json_each($5)))
    AND ($6 IS NULL OR i.runbook = $6)
ORDER BY runs.id DESC
LIMIT $4;
