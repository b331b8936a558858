-- With one of the labels $20 with the values $21 (pk_run_labels).
SELECT c.id
FROM unnest($20::text[], $21::text[]) AS r (name, value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN (SELECT *, tenant_id AS t, name AS a, value AS b FROM run_labels) AS s
        ON (s.tenant_id, s.name, s.value, s.run_id) >= ($1, r.name, r.value, $2)
        AND (s.tenant_id, s.name, s.value, s.run_id) <= ($1, r.name, r.value, $3)