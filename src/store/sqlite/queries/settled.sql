SELECT unhex(r.value)
FROM json_each($1) AS r LEFT JOIN runs ON runs.id = unhex(r.value)
WHERE runs.key IS NULL OR runs.archived_at IS NOT NULL;
