-- $1 files. Those that no archive is recorded in.
SELECT f.artifact
FROM unnest($1::text[]) AS f (artifact)
WHERE NOT EXISTS (SELECT 1 FROM archive_packs AS p WHERE p.artifact = f.artifact)
