SELECT id FROM workers
UNION
SELECT claimed_by FROM runs WHERE claimed_by IS NOT NULL AND ended_at IS NULL
ORDER BY 1
