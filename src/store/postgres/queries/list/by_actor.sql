-- Of the actor $10 (idx_run_inputs_actor).
SELECT c.id
FROM (VALUES (0)) AS r (value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN (SELECT *, tenant_id AS t, tenant_id AS a, trigger_actor AS b FROM run_inputs) AS s
        ON (s.tenant_id, s.trigger_actor, s.run_id) >= ($1, $10, $2) AND (s.tenant_id, s.trigger_actor, s.run_id) <= ($1, $10, $3)