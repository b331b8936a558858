
    ORDER BY 1 DESC
    LIMIT +$4
)
SELECT
    runs.id, runs.tenant_id, runs.lane, runs.priority, runs.status, runs.waiting_on, runs.claimable, runs.epoch,
    runs.version, runs.claimed_by, runs.claimed_at, runs.wake_at, runs.signal_seq,
    runs.signals_applied, runs.sequence_head, runs.stamp_head, runs.recoveries, runs.recoveries_applied,
    runs.created_at, runs.started_at, runs.ended_at, runs.error, i.runbook, i.plan_digest, i.steps_total,
    i.runbook_version, runs.session_id, i.trigger_kind, i.trigger_actor, i.labels, i.params,
    -- An owned run was last heard of when it or its worker was.
    max(runs.heartbeat_at, coalesce(w.beat_at, runs.heartbeat_at)) AS heartbeat_at
FROM picked CROSS JOIN runs ON runs.id = picked.id
JOIN run_inputs AS i ON i.run_key = runs.key
LEFT JOIN workers AS w ON w.id = runs.claimed_by AND runs.ended_at IS NULL
ORDER BY picked.id DESC;
