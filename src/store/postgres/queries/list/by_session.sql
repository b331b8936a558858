-- Of the session $8 (idx_runs_session).
SELECT c.id
FROM unnest(ARRAY[$8::uuid]) AS r (value) CROSS JOIN LATERAL (
    SELECT s.run_id AS id
    FROM (VALUES (0)) AS one (n) JOIN (SELECT *, id AS run_id FROM runs) AS s
        ON s.tenant_id = $1 AND s.session_id IS NOT NULL
        AND s.session_id = r.value AND s.id BETWEEN $2 AND $3
        -- As in by_lane.sql, the same once more in other words: of a value that it does not know the planner thinks that a range is narrow, and
        -- so it does not walk through all runs (uq_runs_id) even where it was told that nearly all have the value.
        AND s.session_id >= r.value AND s.session_id <= r.value