-- $1 lane, $2 limit, $3 worker, $4 now, $5 the word `claimed`. MATERIALIZED, or the planner may look for more rows
-- than the limit. A row that somebody has locked is passed over: two claims neither wait for each other nor get the
-- same run.
--
-- A claim waits for no disk. Nothing has begun by it: the first thing that an owner does is to commit what it has
-- decided, which waits for the disk, and the log is written in order, so the claim is there by then. A server that
-- crashes before has the run queued, and the owner, whose epoch it never heard of, is fenced.
WITH lazily AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', true)
),
next AS MATERIALIZED (
    SELECT key FROM runs
    WHERE claimable AND lane = $1 AND (SELECT true FROM lazily)
    ORDER BY priority DESC, created_at, id
    LIMIT $2
    FOR NO KEY UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE runs
    SET status = $5, waiting_on = NULL, claimable = false, wake_at = NULL, claimed_by = $3, claimed_at = $4,
        heartbeat_at = $4, epoch = runs.epoch + 1, version = runs.version + 1
    FROM next
    -- The planner takes a range for few rows, and so looks each up by its key; else it would read all runs for the
    -- tenth of those that wait, which is what it takes a limit for that it does not know.
    WHERE runs.key = next.key AND next.key BETWEEN 1 AND 9223372036854775806
    RETURNING runs.*
)
SELECT
    r.id, r.tenant_id, r.lane, r.priority, r.status, r.waiting_on, r.claimable, r.epoch, r.version, r.claimed_by,
    r.claimed_at, r.heartbeat_at, r.wake_at, r.signal_seq, r.signals_applied, r.sequence_head, r.stamp_head,
    r.recoveries, r.recoveries_applied, r.created_at, r.started_at, r.ended_at, r.error::text AS error, r.session_id,
    i.runbook, i.runbook_version, i.plan_digest, i.steps_total, i.trigger_kind, i.trigger_actor,
    i.labels::text AS labels, i.params::text AS params
FROM claimed AS r JOIN run_inputs AS i ON i.run_key = r.key
ORDER BY r.priority DESC, r.created_at, r.id
