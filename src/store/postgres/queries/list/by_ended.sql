-- Ended in one of the ways in $20 (idx_runs_ended).
SELECT c.id
FROM unnest($20::text[]) AS r (value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN (SELECT *, tenant_id AS t, tenant_id AS a, status AS b, id AS run_id FROM runs) AS s
        ON s.ended_at IS NOT NULL
        AND (s.tenant_id, s.status, s.id) >= ($1, r.value, $2) AND (s.tenant_id, s.status, s.id) <= ($1, r.value, $3)