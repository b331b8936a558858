-- Of the session $8 (idx_runs_session).
SELECT c.id
FROM (VALUES (0)) AS r (value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN (SELECT *, session_id AS t, session_id AS a, session_id AS b, id AS run_id FROM runs) AS s
        ON s.tenant_id = $1 AND s.session_id IS NOT NULL
        AND (s.session_id, s.id) >= ($8, $2) AND (s.session_id, s.id) <= ($8, $3)