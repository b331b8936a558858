SELECT DISTINCT s.artifact
FROM event_segments AS s
WHERE NOT EXISTS (
    SELECT 1
    FROM event_segments AS other JOIN runs ON runs.key = other.run_key
    WHERE other.artifact = s.artifact AND runs.archived_at IS NULL
)
ORDER BY s.artifact
LIMIT +$1;
