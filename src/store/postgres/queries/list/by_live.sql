-- Not ended (idx_runs_live).
SELECT c.id
FROM (VALUES (0)) AS r (value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN (SELECT *, id AS run_id FROM runs) AS s
        ON s.ended_at IS NULL AND s.tenant_id = $1 AND s.id BETWEEN $2 AND $3