-- $1 JSON array of the dead, $2 limit, $3 the word `queued`, $4 the word `capacity`. The subquery and the
-- change are one statement: a commit of the late owner comes wholly before or is fenced by the epoch.
UPDATE runs
SET status = $3, waiting_on = $4, claimable = 1, claimed_by = NULL, claimed_at = NULL, heartbeat_at = NULL,
    wake_at = NULL, epoch = epoch + 1, version = version + 1, recoveries = recoveries + 1
WHERE key IN (
    SELECT key FROM runs
    WHERE claimed_by IN (SELECT unhex(value) FROM json_each($1)) AND ended_at IS NULL
    ORDER BY id
    LIMIT +$2
)
RETURNING id, lane;
