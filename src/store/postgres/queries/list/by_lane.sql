-- Of the lanes in $20 (idx_runs_lane).
SELECT c.id
FROM unnest($20::text[]) AS r (value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN (SELECT *, id AS run_id FROM runs) AS s
        ON s.tenant_id = $1 AND s.lane = r.value AND s.id BETWEEN $2 AND $3
        -- The same once more in other words: of a value that it does not know the planner thinks that a range is narrow, and
        -- so it does not walk through all runs (uq_runs_id) even where it was told that nearly all have the value.
        AND s.lane >= r.value AND s.lane <= r.value