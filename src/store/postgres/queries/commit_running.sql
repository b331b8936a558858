-- Commits after which the owner keeps the run. $1 to $12 columns of the commits, which come in the order of their
-- runs' ids; $13 to $19 of their events, $13 the number of the commit, from 1. Sets no column of an index. Locks: runs
-- by id. Where the guard does not hold nothing is written; answers the runs where it did.
--
-- No join of what was given with a whole table is left to the planner: a plan that was made while `runs` was small
-- would go on reading all of it.
WITH held AS MATERIALIZED (
    -- Key 0: the guard does not hold.
    SELECT coalesce(r.key, 0) AS key, b.status, b.at, b.started_at, b.signals_applied, b.recoveries_applied,
        b.sequence_head, b.stamp_head
    FROM unnest(
        $1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[], $5::text[], $6::timestamptz[], $7::timestamptz[],
        $8::bigint[], $9::bigint[], $10::bigint[], $11::timestamptz[], $12::boolean[]
    ) AS b (
        id, epoch, worker, version, status, at, started_at, signals_applied, recoveries_applied, sequence_head,
        stamp_head, all_signals
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
    SET status = held.status, version = runs.version + 1, heartbeat_at = held.at,
        started_at = coalesce(runs.started_at, held.started_at), signals_applied = held.signals_applied,
        recoveries_applied = held.recoveries_applied, sequence_head = held.sequence_head,
        stamp_head = held.stamp_head
    FROM held
    -- The planner takes a range for few rows, and so looks each up by its key.
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
)
SELECT id FROM moved
