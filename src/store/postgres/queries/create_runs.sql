-- $1 to $23 columns of the runs, $24 to $30 of their events, $31 to $34 of their labels, $35 and $36 the sessions
-- they name with their tenants; $37 tenant, $38 key, $39 digest of the request, $40 status, $41 body and $42 time
-- of the answer to keep; $38 NULL: none.
-- Locks: sessions by id (shared: none of them is archived meanwhile), the key, then new rows only. Of two requests
-- with one key the second waits at the key for the end of the first, and then creates nothing.
WITH open AS MATERIALIZED (
    -- One by one, in the order that they are given in, which is that of their ids.
    SELECT s.id
    FROM unnest($35::uuid[], $36::uuid[]) AS named (id, tenant_id)
    CROSS JOIN LATERAL (
        SELECT id FROM sessions
        WHERE sessions.id = named.id AND sessions.tenant_id = named.tenant_id AND archived_at IS NULL
        FOR SHARE
    ) AS s
),
kept AS (
    INSERT INTO idempotency_keys (tenant_id, key, body_digest, status, body, created_at)
    SELECT $37::uuid, $38::text, $39::bytea, $40::integer, $41::bytea, $42::timestamptz
    WHERE $38 IS NOT NULL AND (SELECT count(*) FROM open) = cardinality($35)
    ON CONFLICT (tenant_id, key) DO NOTHING
    RETURNING key
),
-- All or nothing: one row, or none.
go AS MATERIALIZED (
    SELECT WHERE (SELECT count(*) FROM open) = cardinality($35) AND ($38 IS NULL OR EXISTS (SELECT FROM kept))
),
created AS (
    INSERT INTO runs (
        id, tenant_id, lane, priority, status, waiting_on, claimable, epoch, version, claimed_by, claimed_at,
        heartbeat_at, signal_seq, signals_applied, sequence_head, stamp_head, recoveries, recoveries_applied,
        created_at, started_at, session_id
    )
    SELECT n.id, n.tenant_id, n.lane, n.priority, n.status, n.waiting_on, n.claimable, n.epoch, n.epoch,
        n.claimed_by, n.claimed_at, n.claimed_at, 0, 0, n.sequence_head, n.stamp_head, 0, 0, n.created_at,
        n.started_at, n.session_id
    FROM go CROSS JOIN unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::boolean[], $8::bigint[],
        $9::uuid[], $10::timestamptz[], $11::timestamptz[], $12::bigint[], $13::timestamptz[], $14::timestamptz[],
        $15::uuid[]
    ) AS n (
        id, tenant_id, lane, priority, status, waiting_on, claimable, epoch, claimed_by, claimed_at, created_at,
        sequence_head, stamp_head, started_at, session_id
    )
    RETURNING key, id, tenant_id
),
inputs AS (
    INSERT INTO run_inputs (
        run_key, tenant_id, run_id, runbook, plan_digest, steps_total, trigger_kind, trigger_actor, labels, params,
        runbook_version
    )
    SELECT created.key, created.tenant_id, created.id, n.runbook, n.plan_digest, n.steps_total, n.trigger_kind,
        n.trigger_actor, n.labels::jsonb, n.params::json, n.runbook_version
    FROM unnest(
        $1::uuid[], $16::text[], $17::bytea[], $18::bigint[], $19::text[], $20::text[], $21::text[], $22::text[],
        $23::bigint[]
    ) AS n (
        id, runbook, plan_digest, steps_total, trigger_kind, trigger_actor, labels, params, runbook_version
    )
    JOIN created ON created.id = n.id
),
-- What the owners of runs that are born owned have decided already.
opened AS (
    INSERT INTO run_events (run_key, sequence, prev, at, category, action, data)
    SELECT created.key, e.sequence, e.prev, e.at, e.category, e.action, e.data::json
    FROM unnest(
        $24::uuid[], $25::bigint[], $26::bigint[], $27::timestamptz[], $28::text[], $29::text[], $30::text[]
    ) AS e (run_id, sequence, prev, at, category, action, data)
    JOIN created ON created.id = e.run_id
),
labelled AS (
    INSERT INTO run_labels (tenant_id, name, value, run_id)
    SELECT l.tenant_id, l.name, l.value, l.run_id
    FROM go CROSS JOIN unnest($31::uuid[], $32::text[], $33::text[], $34::uuid[]) AS l (tenant_id, name, value, run_id)
)
SELECT true AS created FROM go
