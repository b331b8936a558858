-- Of the lanes in $20 (idx_runs_lane).
SELECT c.id
FROM unnest($20::text[]) AS r (value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN (SELECT *, tenant_id AS t, tenant_id AS a, lane AS b, id AS run_id FROM runs) AS s
        ON (s.tenant_id, s.lane, s.id) >= ($1, r.value, $2) AND (s.tenant_id, s.lane, s.id) <= ($1, r.value, $3)