-- Of the actor $10 (idx_run_inputs_actor).
SELECT c.id
FROM (VALUES (0)) AS r (value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN run_inputs AS s
        ON s.tenant_id = $1 AND s.trigger_actor = $10 AND s.run_id BETWEEN $2 AND $3