SELECT id FROM runs
WHERE claimed_by = $1 AND ended_at IS NULL AND signal_seq > signals_applied
ORDER BY id
