-- With one of the labels $16 with the values $17 (pk_run_labels).
SELECT c.id
FROM unnest($16::text[], $17::text[]) AS r (name, value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN run_labels AS s
        ON s.tenant_id = $1 AND s.name = r.name AND s.value = r.value AND s.run_id BETWEEN $2 AND $3