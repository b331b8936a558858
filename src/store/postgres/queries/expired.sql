-- $1 before when, $2 at most.
SELECT runs.id
FROM run_archives AS a JOIN runs ON runs.key = a.run_key
WHERE a.trimmed AND a.archived_at < $1
ORDER BY a.archived_at
LIMIT $2
