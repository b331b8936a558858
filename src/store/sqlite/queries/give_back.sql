-- $1 worker, $2 JSON array of [id, epoch], $3 the word `queued`, $4 the word `capacity`, $5 the word `running`.
UPDATE runs
SET status = $3, waiting_on = $4, claimable = 1, claimed_by = NULL, claimed_at = NULL, heartbeat_at = NULL,
    wake_at = NULL, epoch = runs.epoch + 1, version = version + 1, recoveries = recoveries + (status = $5)
FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS epoch FROM json_each($2)) AS b
WHERE runs.id = b.id AND runs.epoch = b.epoch AND +runs.claimed_by = $1 AND runs.ended_at IS NULL
RETURNING runs.id AS id, lane;
