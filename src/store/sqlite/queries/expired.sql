SELECT runs.id
FROM run_archives AS a JOIN runs ON runs.key = a.run_key
WHERE a.trimmed = 1 AND a.archived_at < $1
ORDER BY a.archived_at
LIMIT +$2;
