-- A commit that shares its transaction with no other, and after which the owner keeps the run: commit_running.sql without
-- what many need to be locked in an order. $1 to $12 as there, of one commit; $13 to $18 columns of its events. Sets no
-- column of an index. Where the guard does not hold nothing is written; answers the run where it did.
WITH moved AS (
    UPDATE runs
    SET status = $5::text, version = version + 1, heartbeat_at = $6::timestamptz,
        started_at = coalesce(started_at, $7::timestamptz), signals_applied = $8::bigint,
        recoveries_applied = $9::bigint, sequence_head = $10::bigint, stamp_head = $11::timestamptz
    -- Neither `=` nor `IS NULL`, as in commit_running.sql.
    WHERE id = $1::uuid AND epoch = $2::bigint AND claimed_by IS NOT DISTINCT FROM $3::uuid AND version = $4::bigint
        AND coalesce(ended_at, 'infinity') = 'infinity' AND (NOT $12::boolean OR signal_seq = $8::bigint)
    RETURNING key, id
),
written AS (
    INSERT INTO run_events (run_key, sequence, prev, at, category, action, data)
    SELECT moved.key, e.sequence, e.prev, e.at, e.category, e.action, e.data::json
    FROM moved CROSS JOIN unnest(
        $13::bigint[], $14::bigint[], $15::timestamptz[], $16::text[], $17::text[], $18::text[]
    ) AS e (sequence, prev, at, category, action, data)
)
SELECT id FROM moved
