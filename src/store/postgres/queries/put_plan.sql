INSERT INTO plans (tenant_id, digest, plan, source) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, digest) DO NOTHING
