-- $1 runs. Those that are archived, or gone.
SELECT r.id
FROM unnest($1::uuid[]) WITH ORDINALITY AS r (id, place) LEFT JOIN runs ON runs.id = r.id
WHERE runs.key IS NULL OR runs.archived_at IS NOT NULL
ORDER BY r.place
