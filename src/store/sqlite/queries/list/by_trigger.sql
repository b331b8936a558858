-- Of the trigger kind $9 (idx_run_inputs_trigger).
SELECT unhex(c.value) AS id
FROM json_each('[0]') AS r CROSS JOIN json_each((
    SELECT json_group_array(hex(found)) FROM (
        SELECT i.run_id AS found
        FROM run_inputs AS i CROSS JOIN runs ON runs.key = i.run_key
        WHERE i.tenant_id = $1 AND i.trigger_kind = $9 AND i.run_id BETWEEN $2 AND $3