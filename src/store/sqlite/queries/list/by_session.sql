-- Of the session $8 (idx_runs_session).
SELECT unhex(c.value) AS id
FROM json_each('[0]') AS r CROSS JOIN json_each((
    SELECT json_group_array(hex(found)) FROM (
        SELECT runs.id AS found
        FROM runs CROSS JOIN run_inputs AS i ON i.run_key = runs.key
        WHERE runs.session_id = $8 AND runs.id BETWEEN $2 AND $3