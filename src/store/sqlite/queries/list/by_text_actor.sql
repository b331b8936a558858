-- Of the actors in $14 (idx_run_inputs_actor).
SELECT unhex(c.value) AS id
FROM json_each($14) AS r CROSS JOIN json_each((
    SELECT json_group_array(hex(found)) FROM (
        SELECT i.run_id AS found
        FROM run_inputs AS i CROSS JOIN runs ON runs.key = i.run_key
        WHERE i.tenant_id = $1 AND i.trigger_actor = r.value AND i.run_id BETWEEN $2 AND $3