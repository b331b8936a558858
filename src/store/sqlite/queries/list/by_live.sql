-- Not ended (idx_runs_live).
SELECT unhex(c.value) AS id
FROM json_each('[0]') AS r CROSS JOIN json_each((
    SELECT json_group_array(hex(found)) FROM (
        SELECT runs.id AS found
        FROM runs CROSS JOIN run_inputs AS i ON i.run_key = runs.key
        WHERE runs.tenant_id = $1 AND runs.ended_at IS NULL AND runs.id BETWEEN $2 AND $3