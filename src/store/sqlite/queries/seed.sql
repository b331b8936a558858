-- Ended runs for measurements, as their owners would have left them; they count as archived, so that the archiver does not
-- work through them meanwhile. $1 JSON array of runs, with the keys that they get;
-- $2 of their labels, $3 of their events, $4 of their steps.
BEGIN IMMEDIATE;

INSERT INTO runs (
    key, id, tenant_id, lane, priority, status, claimable, epoch, version, claimed_by, claimed_at, heartbeat_at,
    signal_seq, signals_applied, sequence_head, stamp_head, recoveries, recoveries_applied, created_at, started_at,
    ended_at, error, session_id, archived_at
)
SELECT value ->> 0, unhex(value ->> 1), unhex(value ->> 2), value ->> 3, value ->> 4, value ->> 5, 0, 1, 2,
    unhex(value ->> 6), value ->> 8, value ->> 9, 0, 0, value ->> 7, value ->> 9, 0, 0, value ->> 8, value ->> 8,
    value ->> 9, value ->> 10, unhex(value ->> 11), value ->> 9
FROM jsonb_each($1);

INSERT INTO run_inputs (
    run_key, tenant_id, run_id, runbook, plan_digest, steps_total, trigger_kind, trigger_actor, labels, params,
    runbook_version
)
SELECT value ->> 0, unhex(value ->> 2), unhex(value ->> 1), value ->> 12, unhex(value ->> 13), value ->> 14,
    value ->> 15, value ->> 16, value -> 17, value -> 18, value ->> 19
FROM jsonb_each($1);

INSERT INTO run_labels (tenant_id, name, value, run_id)
SELECT unhex(value ->> 0), value ->> 1, value ->> 2, unhex(value ->> 3)
FROM jsonb_each($2);

INSERT INTO run_events (run_key, sequence, prev, at, category, action, data)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value -> 6
FROM jsonb_each($3);

INSERT INTO run_steps (run_key, step_index, step_id, uses, status, attempts, started_at, ended_at, outputs, error)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    value -> 8, value ->> 9
FROM jsonb_each($4);

COMMIT;
