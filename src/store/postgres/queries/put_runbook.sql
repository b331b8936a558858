-- $1 tenant, $2 name. Makes the row that puts are done one after another on, where there is none.
INSERT INTO runbooks (tenant_id, name, latest) VALUES ($1, $2, 0)
ON CONFLICT (tenant_id, name) DO NOTHING
