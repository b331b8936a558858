-- $1 limit. Locks: workers by id; one whose beat is being written is passed over, until the next look.
WITH late AS MATERIALIZED (
    SELECT id FROM workers
    WHERE lost_at IS NULL AND lease_until < clock_timestamp()
    ORDER BY id
    FOR UPDATE SKIP LOCKED
),
lost AS (
    UPDATE workers SET lost_at = clock_timestamp() FROM late WHERE workers.id = late.id RETURNING workers.id
)
SELECT
    clock_timestamp(),
    (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
    ARRAY(
        SELECT id FROM lost
        UNION
        SELECT id FROM workers WHERE lost_at IS NOT NULL
        UNION
        SELECT claimed_by FROM runs
        WHERE claimed_by IS NOT NULL AND ended_at IS NULL
            AND NOT EXISTS (SELECT FROM workers WHERE workers.id = runs.claimed_by)
        ORDER BY 1
        LIMIT $1
    )
