-- $1 at most so many. Runs without what they were started with, and labels of runs that are gone.
SELECT hex(runs.id) FROM runs WHERE NOT EXISTS (SELECT 1 FROM run_inputs AS i WHERE i.run_key = runs.key)
UNION ALL
SELECT DISTINCT hex(l.run_id) FROM run_labels AS l WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = l.run_id)
LIMIT +$1;
