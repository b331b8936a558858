-- Parks, hand-backs and ends, guarded by ownership. What a commit makes of the row is decided by the
-- program: `keeps` says whether the row goes on naming its owner.
UPDATE runs
SET status = b.status, version = runs.version + 1, epoch = b.next_epoch,
    waiting_on = b.waiting_on, claimable = b.claimable, wake_at = b.wake_at,
    claimed_by = iif(b.keeps, runs.claimed_by, NULL), claimed_at = iif(b.keeps, runs.claimed_at, NULL),
    heartbeat_at = iif(b.keeps, coalesce(b.beat_at, runs.heartbeat_at), NULL),
    started_at = coalesce(runs.started_at, b.started_at), ended_at = b.ended_at, error = b.error,
    signals_applied = b.signals_applied, recoveries_applied = b.recoveries_applied,
    sequence_head = b.sequence_head, stamp_head = b.stamp_head
FROM (
    SELECT unhex(value ->> 0) AS id, value ->> 1 AS epoch, unhex(value ->> 2) AS worker, value ->> 3 AS version,
        value ->> 4 AS status, value ->> 5 AS started_at, value ->> 6 AS signals_applied,
        value ->> 7 AS recoveries_applied, value ->> 8 AS sequence_head, value ->> 9 AS stamp_head,
        value ->> 10 AS all_signals, value ->> 11 AS next_epoch, value ->> 12 AS waiting_on,
        value ->> 13 AS claimable, value ->> 14 AS wake_at, value ->> 15 AS keeps, value ->> 16 AS ended_at,
        value ->> 17 AS error, value ->> 18 AS beat_at
    FROM jsonb_each($3)
) AS b
WHERE runs.id = b.id AND runs.epoch = b.epoch AND +runs.claimed_by = b.worker AND runs.version = b.version
    AND runs.ended_at IS NULL AND (NOT b.all_signals OR runs.signal_seq = b.signals_applied);

SELECT abs(-9223372036854775808 + 0 * changes()) WHERE changes() <> $7;

INSERT INTO run_steps (
    run_key, step_index, step_id, uses, status, attempts, started_at, ended_at, outputs, error
)
SELECT runs.key, s.value ->> 1, s.value ->> 2, s.value ->> 3, s.value ->> 4, s.value ->> 5, s.value ->> 6,
    s.value ->> 7, s.value -> 8, s.value ->> 9
FROM jsonb_each($4) AS s CROSS JOIN runs ON runs.id = unhex(s.value ->> 0)
-- "WHERE true" tells the parser that the ON below is not a join's.
WHERE true
ON CONFLICT (run_key, step_index) DO UPDATE
SET step_id = excluded.step_id, uses = excluded.uses, status = excluded.status, attempts = excluded.attempts,
    started_at = excluded.started_at, ended_at = excluded.ended_at, outputs = excluded.outputs,
    error = excluded.error;

SELECT abs(-9223372036854775808 + 0 * changes()) WHERE changes() <> $8;
