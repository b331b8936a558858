-- Of the session $8 (idx_runs_session).
SELECT c.id
FROM (VALUES (0)) AS r (value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN (SELECT *, id AS run_id FROM runs) AS s
        ON s.tenant_id = $1 AND s.session_id IS NOT NULL
        AND s.session_id = $8 AND s.id BETWEEN $2 AND $3