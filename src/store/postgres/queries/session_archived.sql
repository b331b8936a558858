SELECT archived_at IS NOT NULL FROM sessions WHERE tenant_id = $1 AND id = $2
