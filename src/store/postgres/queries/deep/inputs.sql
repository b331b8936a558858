-- $1 at most so many. Runs without what they were started with, and labels of runs that are gone.
SELECT runs.id::text FROM runs WHERE NOT EXISTS (SELECT 1 FROM run_inputs AS i WHERE i.run_key = runs.key)
UNION ALL
SELECT DISTINCT l.run_id::text FROM run_labels AS l WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = l.run_id)
LIMIT $1
