-- Files that archives are recorded in.
SELECT artifact FROM archive_packs AS p
WHERE EXISTS (SELECT 1 FROM run_archives AS a WHERE a.pack_id = p.id)
ORDER BY artifact;
