SELECT source FROM plans WHERE tenant_id = $1 AND digest = $2
