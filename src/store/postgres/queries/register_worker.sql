INSERT INTO workers (id, tenant_id, host, pid, version, started_at, beat_at)
VALUES ($1, $2, $3, $4, $5, $6, $6)
ON CONFLICT (id) DO NOTHING
