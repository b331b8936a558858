-- Of the lanes in $18 (idx_runs_lane).
SELECT unhex(c.value) AS id
FROM json_each($18) AS r CROSS JOIN json_each((
    SELECT json_group_array(hex(found)) FROM (
        SELECT runs.id AS found
        FROM runs CROSS JOIN run_inputs AS i ON i.run_key = runs.key
        WHERE runs.tenant_id = $1 AND runs.lane = r.value AND runs.id BETWEEN $2 AND $3