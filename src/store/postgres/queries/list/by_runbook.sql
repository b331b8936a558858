-- Of the runbook $7 (idx_run_inputs_runbook).
SELECT c.id
FROM (VALUES (0)) AS r (value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN (SELECT *, tenant_id AS t, tenant_id AS a, runbook AS b FROM run_inputs) AS s
        ON (s.tenant_id, s.runbook, s.run_id) >= ($1, $7, $2) AND (s.tenant_id, s.runbook, s.run_id) <= ($1, $7, $3)