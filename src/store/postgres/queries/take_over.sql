-- $1 the dead, $2 lane, $3 limit, $4 worker, $5 now, $6 the word `claimed`. Locks: runs by id, waiting for them: a commit
-- of the late owner comes wholly before or is fenced by the epoch. OFFSET 0 as in requeue.sql.
WITH lost AS MATERIALIZED (
    SELECT key FROM runs
    WHERE key = ANY (ARRAY(
            SELECT key
            FROM (SELECT key, id FROM runs WHERE claimed_by = ANY ($1) AND ended_at IS NULL AND lane = $2 OFFSET 0) AS theirs
            ORDER BY id
            LIMIT $3
        ))
        AND claimed_by = ANY ($1) AND ended_at IS NULL
    ORDER BY id
    FOR NO KEY UPDATE
),
taken AS (
    UPDATE runs
    SET status = $6, waiting_on = NULL, claimable = false, wake_at = NULL, claimed_by = $4, claimed_at = $5,
        heartbeat_at = $5, epoch = runs.epoch + 1, version = runs.version + 1, recoveries = runs.recoveries + 1
    FROM lost
    -- A range is taken for few rows (claim.sql).
    WHERE runs.key = lost.key AND lost.key BETWEEN 1 AND 9223372036854775806
    RETURNING runs.*
)
SELECT
    r.id, r.tenant_id, r.lane, r.priority, r.status, r.waiting_on, r.claimable, r.epoch, r.version, r.claimed_by,
    r.claimed_at, r.heartbeat_at, r.wake_at, r.signal_seq, r.signals_applied, r.sequence_head, r.stamp_head,
    r.recoveries, r.recoveries_applied, r.created_at, r.started_at, r.ended_at, r.error::text AS error, r.session_id,
    i.runbook, i.runbook_version, i.plan_digest, i.steps_total, i.trigger_kind, i.trigger_actor,
    i.labels::text AS labels, i.params::text AS params
FROM taken AS r JOIN run_inputs AS i ON i.run_key = r.key
ORDER BY r.id
