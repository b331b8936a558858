-- $1 now, $2 limit, $3 the word `capacity`.
UPDATE runs
SET waiting_on = $3, claimable = 1, wake_at = NULL, epoch = epoch + 1, version = version + 1
WHERE key IN (
    SELECT key FROM runs WHERE wake_at IS NOT NULL AND wake_at <= $1 ORDER BY wake_at, id LIMIT +$2
)
RETURNING id, lane;
