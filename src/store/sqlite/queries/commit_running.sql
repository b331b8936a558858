-- Commits after which the owner keeps the run, guarded by ownership. Sets no column of an index but status.
-- The + keeps the planner from idx_runs_owner: the row is found by its id.
UPDATE runs
SET status = b.status, version = runs.version + 1, heartbeat_at = b.at,
    started_at = coalesce(runs.started_at, b.started_at),
    signals_applied = b.signals_applied, recoveries_applied = b.recoveries_applied,
    sequence_head = b.sequence_head, stamp_head = b.stamp_head
FROM (
    SELECT unhex(value ->> 0) AS id, value ->> 1 AS epoch, unhex(value ->> 2) AS worker, value ->> 3 AS version,
        value ->> 4 AS status, value ->> 5 AS at, value ->> 6 AS started_at, value ->> 7 AS signals_applied,
        value ->> 8 AS recoveries_applied, value ->> 9 AS sequence_head, value ->> 10 AS stamp_head,
        value ->> 11 AS all_signals
    FROM jsonb_each($1)
) AS b
WHERE runs.id = b.id AND runs.epoch = b.epoch AND +runs.claimed_by = b.worker AND runs.version = b.version
    AND runs.ended_at IS NULL AND (NOT b.all_signals OR runs.signal_seq = b.signals_applied);

-- All or nothing: SQLite has no RAISE outside triggers, but abs() of the smallest integer is an error.
SELECT abs(-9223372036854775808 + 0 * changes()) WHERE changes() <> $5;
