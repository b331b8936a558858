-- $1 the segments: run, first and last sequence, file, position, size, digest, when.
INSERT INTO event_segments (
    run_key, first_sequence, last_sequence, artifact, position, size, digest, created_at
)
SELECT runs.key, s.value ->> 1, s.value ->> 2, s.value ->> 3, s.value ->> 4, s.value ->> 5, unhex(s.value ->> 6),
    s.value ->> 7
FROM json_each($1) AS s CROSS JOIN runs ON runs.id = unhex(s.value ->> 0)
WHERE runs.archived_at IS NULL
ON CONFLICT (run_key, first_sequence) DO NOTHING;
