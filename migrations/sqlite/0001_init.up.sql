-- The schema of the embedded store.
--
-- Ids are 16-byte UUIDs (BLOB), times are integer microseconds since the Unix epoch, UTC. Words (status,
-- lane, …) are bound by the program, which owns them; the CHECK constraints list them, and a test holds
-- both lists equal. Entities (plans, runs, workers) carry tenant_id; their parts (run_inputs, run_events,
-- run_steps, run_signals) are reached through the run and belong to its tenant.

CREATE TABLE plans (
    id        INTEGER NOT NULL,
    tenant_id BLOB    NOT NULL,
    digest    BLOB    NOT NULL,
    plan      BLOB    NOT NULL,
    source    TEXT    NOT NULL,
    CONSTRAINT pk_plans PRIMARY KEY (id),
    CONSTRAINT uq_plans_digest UNIQUE (tenant_id, digest),
    CONSTRAINT chk_plans_tenant CHECK (typeof(tenant_id) = 'blob' AND length(tenant_id) = 16),
    CONSTRAINT chk_plans_digest CHECK (typeof(digest) = 'blob' AND length(digest) = 32)
) STRICT;

-- The state of a run: narrow, since SQLite writes a whole row for every change of it and this one changes
-- with every step. What never changes and may be wide is in run_inputs.
-- The key is what other tables refer to: 3 bytes instead of 16 keep the index of run_events small enough
-- that a batch of 256 commits touches a dozen of its pages, not hundreds (measured: 1.6 times the rate).
CREATE TABLE runs (
    key                INTEGER NOT NULL,
    id                 BLOB    NOT NULL,
    tenant_id          BLOB    NOT NULL,
    lane               TEXT    NOT NULL,
    priority           INTEGER NOT NULL,
    status             TEXT    NOT NULL,
    waiting_on         TEXT,
    claimable          INTEGER NOT NULL,
    epoch              INTEGER NOT NULL,
    version            INTEGER NOT NULL,
    -- No foreign key: a dead worker is forgotten while the runs it ended still name it.
    claimed_by         BLOB,
    claimed_at         INTEGER,
    heartbeat_at       INTEGER,
    wake_at            INTEGER,
    signal_seq         INTEGER NOT NULL,
    signals_applied    INTEGER NOT NULL,
    sequence_head      INTEGER NOT NULL,
    stamp_head         INTEGER NOT NULL,
    recoveries         INTEGER NOT NULL,
    recoveries_applied INTEGER NOT NULL,
    created_at         INTEGER NOT NULL,
    started_at         INTEGER,
    ended_at           INTEGER,
    error              TEXT,
    CONSTRAINT pk_runs PRIMARY KEY (key),
    CONSTRAINT uq_runs_id UNIQUE (id),
    CONSTRAINT chk_runs_id CHECK (length(id) = 16 AND length(tenant_id) = 16),
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
    CONSTRAINT chk_runs_claimed_by CHECK (length(claimed_by) = 16),
    CONSTRAINT chk_runs_waiting_on CHECK (waiting_on IN ('capacity', 'timer', 'step_outcome')),
    CONSTRAINT chk_runs_waits CHECK ((waiting_on IS NOT NULL) = (status = 'queued')),
    CONSTRAINT chk_runs_claimable CHECK (claimable = (waiting_on IS 'capacity')),
    CONSTRAINT chk_runs_wake_at CHECK (wake_at IS NULL OR (status = 'queued' AND NOT claimable)),
    CONSTRAINT chk_runs_ended_at CHECK ((ended_at IS NULL) = (status IN ('queued', 'claimed', 'running'))),
    CONSTRAINT chk_runs_counters CHECK (
        epoch >= 0 AND version >= 0 AND sequence_head >= 0
        AND signals_applied BETWEEN 0 AND signal_seq
        AND recoveries_applied BETWEEN 0 AND recoveries
    )
) STRICT;

-- What may be claimed, in the order of claiming. Partial: parked, owned and ended runs are not in it, so
-- thousands of them cost a claim nothing.
CREATE INDEX idx_runs_claimable ON runs (lane, priority DESC, created_at, id) WHERE claimable;
-- Parked runs by the time they wake.
CREATE INDEX idx_runs_wake_at ON runs (wake_at, id) WHERE wake_at IS NOT NULL;
-- What a worker owns: for the sweep after its death, and for signals.
CREATE INDEX idx_runs_owner ON runs (claimed_by, id) WHERE claimed_by IS NOT NULL AND ended_at IS NULL;
-- Lists, newest first (ids sort by time of creation): all, those that have not ended, and those that ended
-- in a certain way. No column that a step changes, other than status, is in any index.
CREATE INDEX idx_runs_tenant ON runs (tenant_id, id);
CREATE INDEX idx_runs_live ON runs (tenant_id, id) WHERE ended_at IS NULL;
CREATE INDEX idx_runs_ended ON runs (tenant_id, status, id) WHERE ended_at IS NOT NULL;

-- What a run was started with. Never changes.
CREATE TABLE run_inputs (
    run_key       INTEGER NOT NULL,
    tenant_id     BLOB    NOT NULL,
    -- The run's id once more, so that lists of one runbook come out of an index in order.
    run_id        BLOB    NOT NULL,
    runbook       TEXT    NOT NULL,
    plan_digest   BLOB    NOT NULL,
    steps_total   INTEGER NOT NULL,
    trigger_kind  TEXT    NOT NULL,
    trigger_actor TEXT    NOT NULL,
    labels        TEXT    NOT NULL,
    params        TEXT    NOT NULL,
    CONSTRAINT pk_run_inputs PRIMARY KEY (run_key),
    CONSTRAINT fk_run_inputs_run FOREIGN KEY (run_key) REFERENCES runs (key) ON DELETE CASCADE,
    CONSTRAINT fk_run_inputs_plan FOREIGN KEY (tenant_id, plan_digest) REFERENCES plans (tenant_id, digest),
    CONSTRAINT chk_run_inputs_steps_total CHECK (steps_total >= 0)
) STRICT;

-- Lists of one runbook, newest first.
CREATE INDEX idx_run_inputs_runbook ON run_inputs (tenant_id, runbook, run_id);
-- For the foreign key, when plans are deleted.
CREATE INDEX idx_run_inputs_plan ON run_inputs (tenant_id, plan_digest);

-- The durable events: the truth about a run's steps. A table with a rowid, so that rows are appended
-- whichever run they belong to; clustered by run, every run of a batch would dirty a page of its own.
CREATE TABLE run_events (
    run_key  INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    prev     INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    category TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    data     TEXT    NOT NULL,
    CONSTRAINT pk_run_events PRIMARY KEY (run_key, sequence),
    CONSTRAINT fk_run_events_run FOREIGN KEY (run_key) REFERENCES runs (key) ON DELETE CASCADE,
    CONSTRAINT chk_run_events_sequence CHECK (sequence >= 0 AND prev >= 0),
    CONSTRAINT chk_run_events_category CHECK (category IN ('lifecycle', 'llm', 'dispatch', 'system'))
) STRICT;

-- Steps at rest: written when their run parks or ends, so that such runs can be shown without folding events.
CREATE TABLE run_steps (
    run_key    INTEGER NOT NULL,
    step_index INTEGER NOT NULL,
    step_id    TEXT    NOT NULL,
    uses       TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    attempts   INTEGER NOT NULL,
    started_at INTEGER,
    ended_at   INTEGER,
    outputs    TEXT    NOT NULL,
    error      TEXT,
    CONSTRAINT pk_run_steps PRIMARY KEY (run_key, step_index),
    CONSTRAINT fk_run_steps_run FOREIGN KEY (run_key) REFERENCES runs (key) ON DELETE CASCADE,
    CONSTRAINT chk_run_steps_status CHECK (
        status IN (
            'pending', 'running', 'retrying', 'waiting', 'succeeded', 'failed', 'skipped', 'blocked', 'cancelled',
            'unknown'
        )
    ),
    CONSTRAINT chk_run_steps_numbers CHECK (step_index >= 0 AND attempts >= 0)
) STRICT;

-- What the outside tells a run.
CREATE TABLE run_signals (
    run_key INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    data    TEXT    NOT NULL,
    CONSTRAINT pk_run_signals PRIMARY KEY (run_key, seq),
    CONSTRAINT fk_run_signals_run FOREIGN KEY (run_key) REFERENCES runs (key) ON DELETE CASCADE,
    CONSTRAINT chk_run_signals_seq CHECK (seq > 0),
    CONSTRAINT chk_run_signals_kind CHECK (kind IN ('cancel', 'resolve'))
) STRICT;

CREATE TABLE workers (
    id         BLOB    NOT NULL,
    tenant_id  BLOB    NOT NULL,
    host       TEXT    NOT NULL,
    pid        INTEGER NOT NULL,
    version    TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    beat_at    INTEGER NOT NULL,
    CONSTRAINT pk_workers PRIMARY KEY (id),
    CONSTRAINT chk_workers_id CHECK (length(id) = 16 AND length(tenant_id) = 16)
) STRICT, WITHOUT ROWID;
