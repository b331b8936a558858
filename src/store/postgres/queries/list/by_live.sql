-- Not ended (idx_runs_live).
SELECT c.id
FROM (VALUES (0)) AS r (value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN (SELECT *, tenant_id AS t, tenant_id AS a, tenant_id AS b, id AS run_id FROM runs) AS s
        ON s.ended_at IS NULL AND (s.tenant_id, s.id) >= ($1, $2) AND (s.tenant_id, s.id) <= ($1, $3)