-- $1 files. Those that no archive is recorded in.
SELECT f.artifact
FROM unnest($1::text[]) WITH ORDINALITY AS f (artifact, place)
WHERE NOT EXISTS (SELECT 1 FROM archive_packs AS p WHERE p.artifact = f.artifact)
ORDER BY f.place
