-- The segments: $1 runs, $2 first and $3 last sequences, $4 files, $5 positions, $6 sizes, $7 digests, $8 times.
INSERT INTO event_segments (
    run_key, first_sequence, last_sequence, artifact, position, size, digest, created_at
)
SELECT runs.key, s.first_sequence, s.last_sequence, s.artifact, s.position, s.size, s.digest, s.at
FROM unnest(
    $1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bytea[], $8::timestamptz[]
) AS s (run, first_sequence, last_sequence, artifact, position, size, digest, at)
JOIN runs ON runs.id = s.run
WHERE runs.archived_at IS NULL
ORDER BY runs.key, s.first_sequence
ON CONFLICT (run_key, first_sequence) DO NOTHING
