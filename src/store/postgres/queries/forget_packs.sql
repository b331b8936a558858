-- $1 files.
DELETE FROM archive_packs AS p
WHERE artifact = ANY ($1::text[]) AND NOT EXISTS (SELECT 1 FROM run_archives AS a WHERE a.pack_id = p.id)
