-- $1 files, which are deleted by now.
DELETE FROM event_segments AS s
WHERE s.artifact = ANY ($1::text[])
    AND NOT EXISTS (
        SELECT 1
        FROM event_segments AS other JOIN runs ON runs.key = other.run_key
        WHERE other.artifact = s.artifact AND runs.archived_at IS NULL
    )
