-- The newest run, of any tenant, with an id up to $1.
SELECT id FROM runs WHERE id <= $1 ORDER BY id DESC LIMIT 1
