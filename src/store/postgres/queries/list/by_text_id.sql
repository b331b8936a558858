-- With an id from $18 to $19 (uq_runs_id).
SELECT c.id
FROM (VALUES (0)) AS r (value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN (SELECT *, id AS run_id FROM runs) AS s
        ON $18::uuid IS NOT NULL AND s.tenant_id = $1 AND s.id BETWEEN greatest($2, $18) AND least($3, $19)