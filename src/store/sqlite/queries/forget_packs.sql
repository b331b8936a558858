DELETE FROM archive_packs
WHERE artifact IN (SELECT value FROM json_each($1))
    AND NOT EXISTS (SELECT 1 FROM run_archives AS a WHERE a.pack_id = archive_packs.id);
