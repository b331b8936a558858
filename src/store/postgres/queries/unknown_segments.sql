-- $1 files. Those that no segment is recorded in.
SELECT f.artifact
FROM unnest($1::text[]) AS f (artifact)
WHERE NOT EXISTS (SELECT 1 FROM event_segments AS s WHERE s.artifact = f.artifact)
