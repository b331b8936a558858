-- $1 now, $2 limit, $3 the word `capacity`. A row that somebody has locked is passed over, until the next look.
WITH due AS MATERIALIZED (
    SELECT key FROM runs
    WHERE wake_at IS NOT NULL AND wake_at <= $1
    ORDER BY wake_at, id
    LIMIT $2
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE runs
SET waiting_on = $3, claimable = true, wake_at = NULL, epoch = runs.epoch + 1, version = runs.version + 1
FROM due
-- A range is taken for few rows (claim.sql).
WHERE runs.key = due.key AND due.key BETWEEN 1 AND 9223372036854775806
RETURNING runs.id, runs.lane
