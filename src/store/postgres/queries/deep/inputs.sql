-- $1 at most so many. Runs without what they were started with, and labels, steps and events of runs that are gone: no
-- foreign key holds those (docs/decisions/0010).
SELECT runs.id::text FROM runs WHERE NOT EXISTS (SELECT 1 FROM run_inputs AS i WHERE i.run_key = runs.key)
UNION ALL
SELECT DISTINCT l.run_id::text FROM run_labels AS l WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = l.run_id)
UNION ALL
SELECT DISTINCT 'steps of key ' || s.run_key FROM run_steps AS s WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.key = s.run_key)
UNION ALL
SELECT DISTINCT 'events of key ' || e.run_key FROM run_events AS e WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.key = e.run_key)
LIMIT $1
