ORDER BY 1 DESC
    LIMIT $4
)
SELECT
    runs.id, runs.tenant_id, runs.lane, runs.priority, runs.status, runs.waiting_on, runs.claimable, runs.epoch,
    runs.version, runs.claimed_by, runs.claimed_at, runs.wake_at, runs.signal_seq,
    runs.signals_applied, runs.sequence_head, runs.stamp_head, runs.recoveries, runs.recoveries_applied,
    runs.created_at, runs.started_at, runs.ended_at, runs.error::text, i.runbook, i.plan_digest, i.steps_total,
    i.runbook_version, runs.session_id, i.trigger_kind, i.trigger_actor, i.labels::text, i.params::text,
    -- An owned run was last heard of when it or its worker was.
    greatest(runs.heartbeat_at, w.beat_at) AS heartbeat_at
FROM picked
CROSS JOIN LATERAL (SELECT * FROM runs AS n WHERE n.id = picked.id OFFSET 0) AS runs
CROSS JOIN LATERAL (SELECT * FROM run_inputs AS n WHERE n.run_key = runs.key OFFSET 0) AS i
LEFT JOIN workers AS w ON w.id = runs.claimed_by AND runs.ended_at IS NULL
ORDER BY picked.id DESC
