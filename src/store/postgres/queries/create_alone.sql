-- A run by itself, of no session, without labels, events and a key: create_runs.sql without what those need. $1 to $22
-- columns of the run.
WITH created AS (
    INSERT INTO runs (
        id, tenant_id, lane, priority, status, waiting_on, claimable, epoch, version, claimed_by, claimed_at,
        heartbeat_at, signal_seq, signals_applied, sequence_head, stamp_head, recoveries, recoveries_applied,
        created_at, started_at
    )
    VALUES (
        $1::uuid, $2::uuid, $3::text, $4::integer, $5::text, $6::text, $7::boolean, $8::bigint, $8::bigint, $9::uuid,
        $10::timestamptz, $10::timestamptz, 0, 0, $12::bigint, $13::timestamptz, 0, 0, $11::timestamptz,
        $14::timestamptz
    )
    RETURNING key, id, tenant_id
)
INSERT INTO run_inputs (
    run_key, tenant_id, run_id, runbook, plan_digest, steps_total, trigger_kind, trigger_actor, labels, params,
    runbook_version
)
SELECT created.key, created.tenant_id, created.id, $15::text, $16::bytea, $17::bigint, $18::text, $19::text,
    $20::jsonb, $21::json, $22::bigint
FROM created
RETURNING true AS created
