-- Ended runs for measurements, as their owners would have left them; they count as archived, so that the archiver does not
-- work through them meanwhile. $1 JSON array of runs, with numbers; $2 of their labels, $3 of their events, $4 of their
-- steps. Times are in microseconds since 1970.
WITH given AS MATERIALIZED (
    SELECT (r ->> 0)::bigint AS number, (r ->> 1)::uuid AS id, (r ->> 2)::uuid AS tenant_id, r ->> 3 AS lane,
        (r ->> 4)::integer AS priority, r ->> 5 AS status, (r ->> 6)::uuid AS worker, (r ->> 7)::bigint AS head,
        'epoch'::timestamptz + (r ->> 8)::bigint * interval '1 microsecond' AS created_at,
        'epoch'::timestamptz + (r ->> 9)::bigint * interval '1 microsecond' AS ended_at,
        (r ->> 10)::json AS error, (r ->> 11)::uuid AS session_id, r ->> 12 AS runbook,
        decode(r ->> 13, 'hex') AS plan, (r ->> 14)::bigint AS steps, r ->> 15 AS kind, r ->> 16 AS actor,
        (r -> 17)::jsonb AS labels, r -> 18 AS params, (r ->> 19)::bigint AS runbook_version
    FROM json_array_elements($1::json) AS r
), made AS (
    INSERT INTO runs (
        id, tenant_id, lane, priority, status, claimable, epoch, version, claimed_by, claimed_at, heartbeat_at,
        signal_seq, signals_applied, sequence_head, stamp_head, recoveries, recoveries_applied, created_at, started_at,
        ended_at, error, session_id, archived_at
    )
    SELECT id, tenant_id, lane, priority, status, false, 1, 2, worker, created_at, ended_at, 0, 0, head, ended_at, 0, 0,
        created_at, created_at, ended_at, error, session_id, ended_at
    FROM given
    RETURNING key, id
), keyed AS MATERIALIZED (
    SELECT made.key, given.* FROM given JOIN made USING (id)
), inputs AS (
    INSERT INTO run_inputs (
        run_key, tenant_id, run_id, runbook, plan_digest, steps_total, trigger_kind, trigger_actor, labels, params,
        runbook_version
    )
    SELECT key, tenant_id, id, runbook, plan, steps, kind, actor, labels, params, runbook_version FROM keyed
), labelled AS (
    INSERT INTO run_labels (tenant_id, name, value, run_id)
    SELECT (l ->> 0)::uuid, l ->> 1, l ->> 2, (l ->> 3)::uuid FROM json_array_elements($2::json) AS l
), happened AS (
    INSERT INTO run_events (run_key, sequence, prev, at, category, action, data)
    SELECT keyed.key, (e ->> 1)::bigint, (e ->> 2)::bigint,
        'epoch'::timestamptz + (e ->> 3)::bigint * interval '1 microsecond', e ->> 4, e ->> 5, e -> 6
    FROM json_array_elements($3::json) AS e JOIN keyed ON keyed.number = (e ->> 0)::bigint
)
INSERT INTO run_steps (run_key, step_index, step_id, uses, status, attempts, started_at, ended_at, outputs, error)
SELECT keyed.key, (s ->> 1)::bigint, s ->> 2, s ->> 3, s ->> 4, (s ->> 5)::bigint,
    'epoch'::timestamptz + (s ->> 6)::bigint * interval '1 microsecond',
    'epoch'::timestamptz + (s ->> 7)::bigint * interval '1 microsecond', s -> 8, (s ->> 9)::json
FROM json_array_elements($4::json) AS s JOIN keyed ON keyed.number = (s ->> 0)::bigint
