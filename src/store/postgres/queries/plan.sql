SELECT plan FROM plans WHERE tenant_id = $1 AND digest = $2
