DELETE FROM event_segments
WHERE artifact IN (SELECT value FROM json_each($1))
    AND NOT EXISTS (
        SELECT 1
        FROM event_segments AS other JOIN runs ON runs.key = other.run_key
        WHERE other.artifact = event_segments.artifact AND runs.archived_at IS NULL
    );
