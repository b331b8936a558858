-- $1 the dead, $2 limit, $3 the word `queued`, $4 the word `capacity`. Locks: runs by id, waiting for them: a commit
-- of the late owner comes wholly before or is fenced by the epoch. OFFSET 0: what the dead own is looked up by its
-- owner, whatever the limit; in the order of ids it would be looked for among all runs that there ever were.
WITH lost AS MATERIALIZED (
    SELECT key FROM runs
    WHERE key = ANY (ARRAY(
            SELECT key
            FROM (SELECT key, id FROM runs WHERE claimed_by = ANY ($1) AND ended_at IS NULL OFFSET 0) AS theirs
            ORDER BY id
            LIMIT $2
        ))
        AND claimed_by = ANY ($1) AND ended_at IS NULL
    ORDER BY id
    FOR NO KEY UPDATE
)
UPDATE runs
SET status = $3, waiting_on = $4, claimable = true, claimed_by = NULL, claimed_at = NULL, heartbeat_at = NULL,
    wake_at = NULL, epoch = runs.epoch + 1, version = runs.version + 1, recoveries = runs.recoveries + 1
FROM lost
-- A range is taken for few rows (claim.sql).
WHERE runs.key = lost.key AND lost.key BETWEEN 1 AND 9223372036854775806
RETURNING runs.id, runs.lane
