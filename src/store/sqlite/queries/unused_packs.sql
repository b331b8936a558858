SELECT artifact
FROM archive_packs AS p
WHERE NOT EXISTS (SELECT 1 FROM run_archives AS a WHERE a.pack_id = p.id)
ORDER BY id
LIMIT +$1;
