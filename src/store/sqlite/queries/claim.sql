-- $1 lane, $2 limit, $3 worker, $4 now, $5 the word `claimed`. One statement, and SQLite has one writer:
-- two claims never see the same run claimable.
UPDATE runs
SET status = $5, waiting_on = NULL, claimable = 0, wake_at = NULL, claimed_by = $3, claimed_at = $4,
    heartbeat_at = $4, epoch = epoch + 1, version = version + 1
WHERE key IN (
    SELECT key FROM runs WHERE claimable AND lane = $1 ORDER BY priority DESC, created_at, id LIMIT +$2
)
RETURNING
    id, tenant_id, lane, priority, status, waiting_on, claimable, epoch, version, claimed_by, claimed_at,
    heartbeat_at, wake_at, signal_seq, signals_applied, sequence_head, stamp_head, recoveries,
    recoveries_applied, created_at, started_at, ended_at, error,
    (SELECT runbook FROM run_inputs WHERE run_key = key) AS runbook,
    session_id,
    (SELECT runbook_version FROM run_inputs WHERE run_key = key) AS runbook_version,
    (SELECT plan_digest FROM run_inputs WHERE run_key = key) AS plan_digest,
    (SELECT steps_total FROM run_inputs WHERE run_key = key) AS steps_total,
    (SELECT trigger_kind FROM run_inputs WHERE run_key = key) AS trigger_kind,
    (SELECT trigger_actor FROM run_inputs WHERE run_key = key) AS trigger_actor,
    (SELECT labels FROM run_inputs WHERE run_key = key) AS labels,
    (SELECT params FROM run_inputs WHERE run_key = key) AS params;
