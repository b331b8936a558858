-- Commits of which some park, hand back or end their run, or have steps at rest with them. $1 to $12 and the events
-- $13 to $19 as in commit_running.sql; $20 to $26 what a commit makes of the rest of the row, decided by the
-- program: `keeps` says whether it goes on naming its owner; $27 to $36 steps at rest.
WITH held AS MATERIALIZED (
    SELECT runs.key, runs.id, b.status, b.at, b.started_at, b.signals_applied, b.recoveries_applied, b.sequence_head,
        b.stamp_head, b.next_epoch, b.waiting_on, b.claimable, b.wake_at, b.keeps, b.ended_at, b.error
    FROM unnest(
        $1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[], $5::text[], $6::timestamptz[], $7::timestamptz[],
        $8::bigint[], $9::bigint[], $10::bigint[], $11::timestamptz[], $12::boolean[],
        $20::bigint[], $21::text[], $22::boolean[], $23::timestamptz[], $24::boolean[], $25::timestamptz[],
        $26::text[]
    ) AS b (
        id, epoch, worker, version, status, at, started_at, signals_applied, recoveries_applied, sequence_head,
        stamp_head, all_signals, next_epoch, waiting_on, claimable, wake_at, keeps, ended_at, error
    )
    JOIN runs ON runs.id = b.id
    WHERE runs.epoch = b.epoch AND runs.claimed_by = b.worker AND runs.version = b.version
        AND runs.ended_at IS NULL AND (NOT b.all_signals OR runs.signal_seq = b.signals_applied)
    ORDER BY runs.id
    FOR NO KEY UPDATE OF runs
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
    WHERE runs.key = held.key
    RETURNING runs.id
),
written AS (
    INSERT INTO run_events (run_key, sequence, prev, at, category, action, data)
    SELECT held.key, e.sequence, e.prev, e.at, e.category, e.action, e.data::json
    FROM unnest(
        $13::uuid[], $14::bigint[], $15::bigint[], $16::timestamptz[], $17::text[], $18::text[], $19::text[]
    ) AS e (run_id, sequence, prev, at, category, action, data)
    JOIN held ON held.id = e.run_id
),
rested AS (
    INSERT INTO run_steps (
        run_key, step_index, step_id, uses, status, attempts, started_at, ended_at, outputs, error
    )
    SELECT held.key, s.step_index, s.step_id, s.uses, s.status, s.attempts, s.started_at, s.ended_at,
        s.outputs::json, s.error::json
    FROM unnest(
        $27::uuid[], $28::bigint[], $29::text[], $30::text[], $31::text[], $32::bigint[], $33::timestamptz[],
        $34::timestamptz[], $35::text[], $36::text[]
    ) AS s (run_id, step_index, step_id, uses, status, attempts, started_at, ended_at, outputs, error)
    JOIN held ON held.id = s.run_id
    ON CONFLICT (run_key, step_index) DO UPDATE
    SET step_id = excluded.step_id, uses = excluded.uses, status = excluded.status, attempts = excluded.attempts,
        started_at = excluded.started_at, ended_at = excluded.ended_at, outputs = excluded.outputs,
        error = excluded.error
)
SELECT id FROM moved
