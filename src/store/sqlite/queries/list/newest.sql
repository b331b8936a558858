-- The newest run, of any tenant, with an id up to $1.
SELECT max(id) FROM runs WHERE id <= $1;
