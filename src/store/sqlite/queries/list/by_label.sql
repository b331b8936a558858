-- With one of the labels in $18 (pk_run_labels).
SELECT unhex(c.value) AS id
FROM json_each($18) AS r CROSS JOIN json_each((
    SELECT json_group_array(hex(found)) FROM (
        SELECT x.run_id AS found
        FROM run_labels AS x CROSS JOIN runs ON runs.id = x.run_id CROSS JOIN run_inputs AS i ON i.run_key = runs.key
        WHERE x.tenant_id = $1 AND x.name = r.value ->> 0 AND x.value = r.value ->> 1 AND x.run_id BETWEEN $2 AND $3