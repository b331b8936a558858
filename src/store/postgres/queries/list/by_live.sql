-- Not ended (idx_runs_live).
SELECT c.id
FROM unnest(ARRAY[$1::uuid]) AS r (value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN (SELECT *, id AS run_id FROM runs) AS s
        ON s.ended_at IS NULL AND s.tenant_id = r.value AND s.id BETWEEN $2 AND $3
        -- As in by_lane.sql, the same once more in other words: of a value that it does not know the planner thinks that a
        -- range is narrow, and so it does not walk through all runs (uq_runs_id) even where nearly all were live.
        AND s.tenant_id >= r.value AND s.tenant_id <= r.value