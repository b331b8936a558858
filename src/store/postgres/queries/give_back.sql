-- $1 worker, $2 runs, $3 their epochs, $4 the word `queued`, $5 the word `capacity`, $6 the word `running`.
-- Locks: runs by id.
WITH given AS MATERIALIZED (
    SELECT runs.key
    FROM unnest($2::uuid[], $3::bigint[]) AS b (id, epoch) JOIN runs ON runs.id = b.id
    WHERE runs.epoch = b.epoch AND runs.claimed_by IS NOT DISTINCT FROM $1
        -- Not `IS NULL`: found by its id, not in the index of live runs.
        AND coalesce(runs.ended_at, 'infinity') = 'infinity'
    ORDER BY runs.id
    FOR NO KEY UPDATE OF runs
)
UPDATE runs
SET status = $4, waiting_on = $5, claimable = true, claimed_by = NULL, claimed_at = NULL, heartbeat_at = NULL,
    wake_at = NULL, epoch = runs.epoch + 1, version = runs.version + 1,
    recoveries = runs.recoveries + (runs.status = $6)::integer
FROM given
-- A range is taken for few rows (claim.sql).
WHERE runs.key = given.key AND given.key BETWEEN 1 AND 9223372036854775806
RETURNING runs.id, runs.lane
