UPDATE workers SET draining = 1 WHERE id = $1 AND tenant_id = $2 RETURNING id;
