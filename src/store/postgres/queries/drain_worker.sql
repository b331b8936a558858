UPDATE workers SET draining = true WHERE id = $1 AND tenant_id = $2 RETURNING id
