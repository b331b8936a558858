-- Runs by their ids ($1), each once. Each is looked up by itself, whatever the planner knows of the tables' sizes.
SELECT
    r.id, r.tenant_id, r.lane, r.priority, r.status, r.waiting_on, r.claimable, r.epoch, r.version, r.claimed_by,
    r.claimed_at, r.wake_at, r.signal_seq, r.signals_applied, r.sequence_head, r.stamp_head, r.recoveries,
    r.recoveries_applied, r.created_at, r.started_at, r.ended_at, r.error::text AS error, r.session_id,
    i.runbook, i.runbook_version, i.plan_digest, i.steps_total, i.trigger_kind, i.trigger_actor,
    i.labels::text AS labels, i.params::text AS params,
    -- An owned run was last heard of when it or its worker was.
    greatest(r.heartbeat_at, w.beat_at) AS heartbeat_at
FROM unnest($1::uuid[]) AS given (id)
CROSS JOIN LATERAL (SELECT * FROM runs WHERE runs.id = given.id OFFSET 0) AS r
CROSS JOIN LATERAL (SELECT * FROM run_inputs WHERE run_inputs.run_key = r.key OFFSET 0) AS i
LEFT JOIN LATERAL (
    SELECT beat_at FROM workers WHERE workers.id = r.claimed_by AND r.ended_at IS NULL OFFSET 0
) AS w ON true
