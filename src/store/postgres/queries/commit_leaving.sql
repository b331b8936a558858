-- Commits of which some park, hand back or end their run, or have steps at rest with them. $1 to $12 and the events
-- $13 to $19 as in commit_running.sql, and as much is left to the planner; $20 to $26 what a commit makes of the rest
-- of the row, decided by the program: `keeps` says whether it goes on naming its owner; $27 to $36 steps at rest, $27
-- the number of the commit, from 1.
WITH held AS MATERIALIZED (
    -- Key 0: the guard does not hold.
    SELECT coalesce(r.key, 0) AS key, b.status, b.at, b.started_at, b.signals_applied, b.recoveries_applied,
        b.sequence_head, b.stamp_head, b.next_epoch, b.waiting_on, b.claimable, b.wake_at, b.keeps, b.ended_at, b.error
    FROM unnest(
        $1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[], $5::text[], $6::timestamptz[], $7::timestamptz[],
        $8::bigint[], $9::bigint[], $10::bigint[], $11::timestamptz[], $12::boolean[],
        $20::bigint[], $21::text[], $22::boolean[], $23::timestamptz[], $24::boolean[], $25::timestamptz[],
        $26::text[]
    ) AS b (
        id, epoch, worker, version, status, at, started_at, signals_applied, recoveries_applied, sequence_head,
        stamp_head, all_signals, next_epoch, waiting_on, claimable, wake_at, keeps, ended_at, error
    )
    -- Neither `=` nor `IS NULL`: the row is found by its id, in no index of owned or live runs. While a table is small
    -- the planner takes a walk through all of those for just as cheap.
    LEFT JOIN LATERAL (
        SELECT key FROM runs
        WHERE runs.id = b.id AND runs.epoch = b.epoch AND runs.claimed_by IS NOT DISTINCT FROM b.worker
            AND runs.version = b.version AND coalesce(runs.ended_at, 'infinity') = 'infinity'
            AND (NOT b.all_signals OR runs.signal_seq = b.signals_applied)
        FOR NO KEY UPDATE
    ) AS r ON true
),
moved AS (
    UPDATE runs
    SET status = held.status, version = runs.version + 1, epoch = held.next_epoch,
        waiting_on = held.waiting_on, claimable = held.claimable, wake_at = held.wake_at,
        claimed_by = CASE WHEN held.keeps THEN runs.claimed_by END,
        claimed_at = CASE WHEN held.keeps THEN runs.claimed_at END,
        heartbeat_at = CASE WHEN held.keeps THEN coalesce(held.at, runs.heartbeat_at) END,
        started_at = coalesce(runs.started_at, held.started_at), ended_at = held.ended_at,
        error = held.error::json, signals_applied = held.signals_applied,
        recoveries_applied = held.recoveries_applied, sequence_head = held.sequence_head,
        stamp_head = held.stamp_head
    FROM held
    WHERE runs.key = held.key AND held.key BETWEEN 1 AND 9223372036854775806
    RETURNING runs.id
),
written AS (
    INSERT INTO run_events (run_key, sequence, prev, at, category, action, data)
    SELECT e.run_key, e.sequence, e.prev, e.at, e.category, e.action, e.data::json
    FROM (
        SELECT (ARRAY(SELECT key FROM held))[given.number] AS run_key, given.*
        FROM unnest(
            $13::integer[], $14::bigint[], $15::bigint[], $16::timestamptz[], $17::text[], $18::text[], $19::text[]
        ) AS given (number, sequence, prev, at, category, action, data)
    ) AS e
    WHERE e.run_key > 0
),
rested AS (
    INSERT INTO run_steps (
        run_key, step_index, step_id, uses, status, attempts, started_at, ended_at, outputs, error
    )
    SELECT s.run_key, s.step_index, s.step_id, s.uses, s.status, s.attempts, s.started_at, s.ended_at,
        s.outputs::json, s.error::json
    FROM (
        SELECT (ARRAY(SELECT key FROM held))[given.number] AS run_key, given.*
        FROM unnest(
            $27::integer[], $28::bigint[], $29::text[], $30::text[], $31::text[], $32::bigint[], $33::timestamptz[],
            $34::timestamptz[], $35::text[], $36::text[]
        ) AS given (number, step_index, step_id, uses, status, attempts, started_at, ended_at, outputs, error)
    ) AS s
    WHERE s.run_key > 0
    ON CONFLICT (run_key, step_index) DO UPDATE
    SET step_id = excluded.step_id, uses = excluded.uses, status = excluded.status, attempts = excluded.attempts,
        started_at = excluded.started_at, ended_at = excluded.ended_at, outputs = excluded.outputs,
        error = excluded.error
)
SELECT id FROM moved
