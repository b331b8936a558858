-- $1 before, $2 at most. Answers a row for each that was removed. What another process is removing is left to it.
WITH old AS MATERIALIZED (
    SELECT id FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_keys AS k USING old WHERE k.id = old.id
RETURNING k.id
