-- With an id from $16 to $17 (uq_runs_id).
SELECT unhex(c.value) AS id
FROM json_each('[0]') AS r CROSS JOIN json_each((
    SELECT json_group_array(hex(found)) FROM (
        SELECT runs.id AS found
        FROM runs CROSS JOIN run_inputs AS i ON i.run_key = runs.key
        WHERE runs.id BETWEEN max($2, $16) AND min($3, $17)