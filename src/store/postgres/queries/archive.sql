-- $1 run.
SELECT p.artifact, a.position, a.size, a.digest, a.head, a.events, a.last_sequence, a.archived_at
FROM run_archives AS a JOIN archive_packs AS p ON p.id = a.pack_id
WHERE a.run_key = (SELECT key FROM runs WHERE id = $1)
