-- $1 JSON array of runs, $2 of their events, $3 of their labels, $4 of the sessions they name with the tenant.
-- $5 tenant, $6 key, $7 digest of the request, $8 status, $9 body and $10 time of the answer to keep; $6 NULL: none.
BEGIN IMMEDIATE;

-- All or nothing: a known key, or a session that is not open (abs() of the smallest integer is an error).
SELECT abs(-9223372036854775808) FROM idempotency_keys WHERE tenant_id = $5 AND key = $6;

SELECT abs(-9223372036854775808 + 0 * length(value)) FROM json_each($4)
WHERE NOT EXISTS (
    SELECT 1 FROM sessions
    WHERE id = unhex(value ->> 0) AND tenant_id = unhex(value ->> 1) AND archived_at IS NULL
);

INSERT INTO runs (
    id, tenant_id, lane, priority, status, waiting_on, claimable, epoch, version, claimed_by, claimed_at,
    heartbeat_at, signal_seq, signals_applied, sequence_head, stamp_head, recoveries, recoveries_applied,
    created_at, started_at, session_id
)
SELECT unhex(value ->> 0), unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    value ->> 7, value ->> 7, unhex(value ->> 8), value ->> 9, value ->> 9, 0, 0, value ->> 18, value ->> 19, 0, 0,
    value ->> 10, value ->> 20, unhex(value ->> 21)
FROM jsonb_each($1);

INSERT INTO run_inputs (
    run_key, tenant_id, run_id, runbook, plan_digest, steps_total, trigger_kind, trigger_actor, labels, params,
    runbook_version
)
SELECT runs.key, runs.tenant_id, runs.id, n.value ->> 11, unhex(n.value ->> 12), n.value ->> 13,
    n.value ->> 14, n.value ->> 15, n.value -> 16, n.value -> 17, n.value ->> 22
FROM jsonb_each($1) AS n CROSS JOIN runs ON runs.id = unhex(n.value ->> 0);

INSERT INTO run_labels (tenant_id, name, value, run_id)
SELECT unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3)
FROM jsonb_each($3);

-- What the owners of runs that are born owned have decided already.
INSERT INTO run_events (run_key, sequence, prev, at, category, action, data)
SELECT runs.key, e.value ->> 1, e.value ->> 2, e.value ->> 3, e.value ->> 4, e.value ->> 5, e.value -> 6
FROM jsonb_each($2) AS e CROSS JOIN runs ON runs.id = unhex(e.value ->> 0);

INSERT INTO idempotency_keys (tenant_id, key, body_digest, status, body, created_at)
SELECT $5, $6, $7, $8, $9, $10 WHERE $6 IS NOT NULL;

COMMIT;
