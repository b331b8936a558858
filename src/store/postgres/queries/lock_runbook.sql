-- $1 tenant, $2 name. Until the end of the transaction no other one makes a version of this runbook; what follows sees
-- those that were made before.
SELECT key FROM runbooks WHERE tenant_id = $1 AND name = $2 FOR NO KEY UPDATE
