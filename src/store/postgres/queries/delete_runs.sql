-- $1 runs. What belongs to them goes with them, by their foreign keys; the events, which are many, in one go.
-- In the order of ids, as everywhere.
WITH doomed AS MATERIALIZED (
    SELECT key FROM runs WHERE id = ANY ($1::uuid[]) AND ended_at IS NOT NULL ORDER BY id FOR UPDATE
), events AS (
    DELETE FROM run_events USING doomed WHERE run_events.run_key = doomed.key
)
DELETE FROM runs USING doomed WHERE runs.key = doomed.key
