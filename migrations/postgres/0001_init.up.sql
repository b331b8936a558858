-- The schema of the server store.
--
-- Times are timestamptz with microseconds, UTC. Words (status, lane, …) are bound by the program, which owns
-- them; the CHECK constraints list them, and a test holds both lists equal. Text that is compared, ordered or
-- in an index is COLLATE "C": the order of code points, the same on every server and in the embedded store.
-- Entities (plans, runs, workers) carry tenant_id; their parts (run_inputs, run_events, run_steps,
-- run_signals) are reached through the run and belong to its tenant.
--
-- What the engine reads back is `json`, not `jsonb`: jsonb makes the integer 10000000000000000 of the number
-- 1e16 and sorts keys, and a run must go on with exactly what it had. What people search by is `jsonb`.
-- PostgreSQL cannot hold the character 0 in text: it is written as 1A followed by "0", 1A itself as 1A 1A.

CREATE TABLE plans (
    id        bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id uuid   NOT NULL,
    digest    bytea  NOT NULL,
    plan      bytea  NOT NULL,
    source    text   NOT NULL,
    CONSTRAINT pk_plans PRIMARY KEY (id),
    CONSTRAINT uq_plans_digest UNIQUE (tenant_id, digest),
    CONSTRAINT chk_plans_digest CHECK (length(digest) = 32)
);

-- The state of a run: narrow, since PostgreSQL writes a whole row for every change of it and this one changes
-- with every step. What never changes and may be wide is in run_inputs. A page keeps 30 % free, so that the
-- next version of a row finds room beside it and no index is touched (HOT): no index but those of claims and
-- wake-ups is on a column that a live run changes.
-- The key is what other tables refer to: 8 bytes instead of 16 in the index of run_events.
CREATE TABLE runs (
    key                bigint      GENERATED ALWAYS AS IDENTITY,
    id                 uuid        NOT NULL,
    tenant_id          uuid        NOT NULL,
    lane               text        NOT NULL COLLATE "C",
    priority           integer     NOT NULL,
    status             text        NOT NULL COLLATE "C",
    waiting_on         text        COLLATE "C",
    claimable          boolean     NOT NULL,
    epoch              bigint      NOT NULL,
    version            bigint      NOT NULL,
    -- No foreign key: a dead worker is forgotten while the runs it ended still name it.
    claimed_by         uuid,
    claimed_at         timestamptz,
    heartbeat_at       timestamptz,
    wake_at            timestamptz,
    signal_seq         bigint      NOT NULL,
    signals_applied    bigint      NOT NULL,
    sequence_head      bigint      NOT NULL,
    stamp_head         timestamptz NOT NULL,
    recoveries         bigint      NOT NULL,
    recoveries_applied bigint      NOT NULL,
    created_at         timestamptz NOT NULL,
    started_at         timestamptz,
    ended_at           timestamptz,
    error              json,
    CONSTRAINT pk_runs PRIMARY KEY (key),
    CONSTRAINT uq_runs_id UNIQUE (id),
    CONSTRAINT chk_runs_lane CHECK (lane IN ('A', 'B', 'C', 'D')),
    CONSTRAINT chk_runs_status CHECK (
        status IN ('queued', 'claimed', 'running', 'succeeded', 'failed', 'cancelled', 'timed_out')
    ),
    -- B4: an owned run says who owns it, since when, and when it was last heard of.
    CONSTRAINT chk_runs_owner CHECK (
        status NOT IN ('claimed', 'running')
        OR (claimed_by IS NOT NULL AND claimed_at IS NOT NULL AND heartbeat_at IS NOT NULL)
    ),
    CONSTRAINT chk_runs_unowned CHECK (
        status <> 'queued' OR (claimed_by IS NULL AND claimed_at IS NULL AND heartbeat_at IS NULL)
    ),
    CONSTRAINT chk_runs_waiting_on CHECK (waiting_on IN ('capacity', 'timer', 'step_outcome')),
    CONSTRAINT chk_runs_waits CHECK ((waiting_on IS NOT NULL) = (status = 'queued')),
    CONSTRAINT chk_runs_claimable CHECK (claimable = (waiting_on IS NOT DISTINCT FROM 'capacity')),
    CONSTRAINT chk_runs_wake_at CHECK (wake_at IS NULL OR (status = 'queued' AND NOT claimable)),
    CONSTRAINT chk_runs_ended_at CHECK ((ended_at IS NULL) = (status IN ('queued', 'claimed', 'running'))),
    CONSTRAINT chk_runs_counters CHECK (
        epoch >= 0 AND version >= 0 AND sequence_head >= 0
        AND signals_applied BETWEEN 0 AND signal_seq
        AND recoveries_applied BETWEEN 0 AND recoveries
    )
) WITH (
    fillfactor = 70,
    -- Live runs are a small part of the table, and theirs are the versions that have to go.
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.02
);

-- What may be claimed, in the order of claiming. Partial: parked, owned and ended runs are not in it, so
-- thousands of them cost a claim nothing.
CREATE INDEX idx_runs_claimable ON runs (lane, priority DESC, created_at, id) WHERE claimable;
-- Parked runs by the time they wake.
CREATE INDEX idx_runs_wake_at ON runs (wake_at, id) WHERE wake_at IS NOT NULL;
-- What a worker owns: for the sweep after its death, and for signals.
CREATE INDEX idx_runs_owner ON runs (claimed_by, id) WHERE claimed_by IS NOT NULL AND ended_at IS NULL;
-- Lists, newest first (ids sort by time of creation): all, those that have not ended, and those that ended
-- in a certain way.
CREATE INDEX idx_runs_tenant ON runs (tenant_id, id);
CREATE INDEX idx_runs_live ON runs (tenant_id, id) WHERE ended_at IS NULL;
CREATE INDEX idx_runs_ended ON runs (tenant_id, status, id) WHERE ended_at IS NOT NULL;

-- What a run was started with. Never changes.
CREATE TABLE run_inputs (
    run_key       bigint NOT NULL,
    tenant_id     uuid   NOT NULL,
    -- The run's id once more, so that lists of one runbook come out of an index in order.
    run_id        uuid   NOT NULL,
    runbook       text   NOT NULL COLLATE "C",
    plan_digest   bytea  NOT NULL,
    steps_total   bigint NOT NULL,
    trigger_kind  text   NOT NULL COLLATE "C",
    trigger_actor text   NOT NULL COLLATE "C",
    labels        jsonb  NOT NULL,
    params        json   NOT NULL,
    CONSTRAINT pk_run_inputs PRIMARY KEY (run_key),
    CONSTRAINT fk_run_inputs_run FOREIGN KEY (run_key) REFERENCES runs (key) ON DELETE CASCADE,
    CONSTRAINT fk_run_inputs_plan FOREIGN KEY (tenant_id, plan_digest) REFERENCES plans (tenant_id, digest),
    CONSTRAINT chk_run_inputs_steps_total CHECK (steps_total >= 0)
);

-- Lists of one runbook, newest first.
CREATE INDEX idx_run_inputs_runbook ON run_inputs (tenant_id, runbook, run_id);
-- For the foreign key, when plans are deleted.
CREATE INDEX idx_run_inputs_plan ON run_inputs (tenant_id, plan_digest);

-- The durable events: the truth about a run's steps. No foreign key: its check is a query for every row, and was more
-- than a third of what a commit costs (docs/benchmarks.md). Rows are only ever inserted through the row of their run,
-- which the same statement has locked; the trigger below removes them with it.
CREATE TABLE run_events (
    run_key  bigint      NOT NULL,
    sequence bigint      NOT NULL,
    prev     bigint      NOT NULL,
    at       timestamptz NOT NULL,
    category text        NOT NULL COLLATE "C",
    action   text        NOT NULL COLLATE "C",
    data     json        NOT NULL,
    CONSTRAINT pk_run_events PRIMARY KEY (run_key, sequence),
    CONSTRAINT chk_run_events_sequence CHECK (sequence >= 0 AND prev >= 0),
    CONSTRAINT chk_run_events_category CHECK (category IN ('lifecycle', 'llm', 'dispatch', 'system'))
);

CREATE FUNCTION runs_forget_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_events WHERE run_key IN (SELECT key FROM gone);
    RETURN NULL;
END
$$;

CREATE TRIGGER trg_runs_events AFTER DELETE ON runs
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION runs_forget_events();

-- Steps at rest: written when their run parks or ends, so that such runs can be shown without folding events.
CREATE TABLE run_steps (
    run_key    bigint  NOT NULL,
    step_index bigint  NOT NULL,
    step_id    text    NOT NULL COLLATE "C",
    uses       text    NOT NULL COLLATE "C",
    status     text    NOT NULL COLLATE "C",
    attempts   bigint  NOT NULL,
    started_at timestamptz,
    ended_at   timestamptz,
    outputs    json    NOT NULL,
    error      json,
    CONSTRAINT pk_run_steps PRIMARY KEY (run_key, step_index),
    CONSTRAINT fk_run_steps_run FOREIGN KEY (run_key) REFERENCES runs (key) ON DELETE CASCADE,
    CONSTRAINT chk_run_steps_status CHECK (
        status IN (
            'pending', 'running', 'retrying', 'waiting', 'succeeded', 'failed', 'skipped', 'blocked', 'cancelled',
            'unknown'
        )
    ),
    CONSTRAINT chk_run_steps_numbers CHECK (step_index >= 0 AND attempts >= 0)
);

-- What the outside tells a run.
CREATE TABLE run_signals (
    run_key bigint      NOT NULL,
    seq     bigint      NOT NULL,
    at      timestamptz NOT NULL,
    kind    text        NOT NULL COLLATE "C",
    data    json        NOT NULL,
    CONSTRAINT pk_run_signals PRIMARY KEY (run_key, seq),
    CONSTRAINT fk_run_signals_run FOREIGN KEY (run_key) REFERENCES runs (key) ON DELETE CASCADE,
    CONSTRAINT chk_run_signals_seq CHECK (seq > 0),
    CONSTRAINT chk_run_signals_kind CHECK (kind IN ('cancel', 'resolve'))
);

-- Rows change with every beat, and there are few: pages are left half empty for that.
CREATE TABLE workers (
    id         uuid        NOT NULL,
    tenant_id  uuid        NOT NULL,
    host       text        NOT NULL COLLATE "C",
    pid        bigint      NOT NULL,
    version    text        NOT NULL COLLATE "C",
    started_at timestamptz NOT NULL,
    beat_at    timestamptz NOT NULL,
    CONSTRAINT pk_workers PRIMARY KEY (id)
) WITH (fillfactor = 50);
