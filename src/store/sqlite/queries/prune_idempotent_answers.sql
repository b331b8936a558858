-- $1 before, $2 at most. Answers a row for each that was removed.
DELETE FROM idempotency_keys
WHERE id IN (SELECT id FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT +$2)
RETURNING id;
