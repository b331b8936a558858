-- Commits after which the owner keeps the run. $1 to $12 columns of the commits, $13 to $19 of their events.
-- Sets no column of an index. Locks: runs by id. Where the guard does not hold nothing is written; answers the runs
-- where it did.
WITH held AS MATERIALIZED (
    SELECT runs.key, runs.id, b.status, b.at, b.started_at, b.signals_applied, b.recoveries_applied, b.sequence_head,
        b.stamp_head
    FROM unnest(
        $1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[], $5::text[], $6::timestamptz[], $7::timestamptz[],
        $8::bigint[], $9::bigint[], $10::bigint[], $11::timestamptz[], $12::boolean[]
    ) AS b (
        id, epoch, worker, version, status, at, started_at, signals_applied, recoveries_applied, sequence_head,
        stamp_head, all_signals
    )
    JOIN runs ON runs.id = b.id
    WHERE runs.epoch = b.epoch AND runs.claimed_by = b.worker AND runs.version = b.version
        AND runs.ended_at IS NULL AND (NOT b.all_signals OR runs.signal_seq = b.signals_applied)
    ORDER BY runs.id
    FOR NO KEY UPDATE OF runs
),
moved AS (
    UPDATE runs
    SET status = held.status, version = runs.version + 1, heartbeat_at = held.at,
        started_at = coalesce(runs.started_at, held.started_at), signals_applied = held.signals_applied,
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
)
SELECT id FROM moved
