-- The events of runs whose update held; had one not held, this would not be reached.
INSERT INTO run_events (run_key, sequence, prev, at, category, action, data)
SELECT runs.key, e.value ->> 1, e.value ->> 2, e.value ->> 3, e.value ->> 4, e.value ->> 5, e.value -> 6
FROM jsonb_each($2) AS e CROSS JOIN runs ON runs.id = unhex(e.value ->> 0);

SELECT abs(-9223372036854775808 + 0 * changes()) WHERE changes() <> $6;

COMMIT;
