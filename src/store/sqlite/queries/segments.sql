SELECT first_sequence, last_sequence, artifact, position, size, digest, created_at
FROM event_segments
WHERE run_key = (SELECT key FROM runs WHERE id = $1) AND last_sequence > $2
ORDER BY first_sequence
LIMIT +$3;
