-- $1 JSON array of the dead, $2 lane, $3 limit, $4 worker, $5 now, $6 the word `claimed`. One statement, and SQLite has
-- one writer: a commit of the late owner comes wholly before or is fenced by the epoch.
UPDATE runs
SET status = $6, waiting_on = NULL, claimable = 0, wake_at = NULL, claimed_by = $4, claimed_at = $5, heartbeat_at = $5,
    epoch = epoch + 1, version = version + 1, recoveries = recoveries + 1
WHERE key IN (
    SELECT key FROM runs
    WHERE claimed_by IN (SELECT unhex(value) FROM json_each($1)) AND ended_at IS NULL AND lane = $2
    ORDER BY id
    LIMIT +$3
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
