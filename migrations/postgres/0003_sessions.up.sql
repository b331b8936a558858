-- Sessions, and what lists of runs are filtered by.

CREATE TABLE sessions (
    id          uuid        NOT NULL,
    tenant_id   uuid        NOT NULL,
    name        text        NOT NULL COLLATE "C",
    labels      jsonb       NOT NULL,
    created_at  timestamptz NOT NULL,
    created_by  text        NOT NULL COLLATE "C",
    archived_at timestamptz,
    CONSTRAINT pk_sessions PRIMARY KEY (id)
);

-- Lists, newest first: all, and those that are open.
CREATE INDEX idx_sessions_tenant ON sessions (tenant_id, id);
CREATE INDEX idx_sessions_open ON sessions (tenant_id, id) WHERE archived_at IS NULL;

ALTER TABLE runs ADD COLUMN session_id uuid CONSTRAINT fk_runs_session REFERENCES sessions (id);

ALTER TABLE run_inputs ADD COLUMN runbook_version bigint
CONSTRAINT chk_run_inputs_runbook_version CHECK (runbook_version > 0);

-- A list of all runs is a merge of the four lanes, so that the filter by lane costs no further index.
DROP INDEX idx_runs_tenant;
CREATE INDEX idx_runs_lane ON runs (tenant_id, lane, id);
-- Counts by lane and session are read from the index alone. No column of it changes while a run lives.
DROP INDEX idx_runs_live;
CREATE INDEX idx_runs_live ON runs (tenant_id, id, lane, session_id) WHERE ended_at IS NULL;
CREATE INDEX idx_runs_session ON runs (session_id, id) WHERE session_id IS NOT NULL;

CREATE INDEX idx_run_inputs_actor ON run_inputs (tenant_id, trigger_actor, run_id);
CREATE INDEX idx_run_inputs_trigger ON run_inputs (tenant_id, trigger_kind, run_id);

-- The labels of runs once more, to find runs by. Only what has labels is in it. No foreign key: it would
-- take a second index of the same size; the trigger removes the rows of a run that is deleted.
CREATE TABLE run_labels (
    tenant_id uuid NOT NULL,
    name      text NOT NULL COLLATE "C",
    -- The text of a string, or the JSON of anything else.
    value     text NOT NULL COLLATE "C",
    run_id    uuid NOT NULL,
    CONSTRAINT pk_run_labels PRIMARY KEY (tenant_id, name, value, run_id)
);

INSERT INTO run_labels (tenant_id, name, value, run_id)
SELECT i.tenant_id, l.name, l.value, i.run_id
FROM run_inputs AS i CROSS JOIN LATERAL jsonb_each_text(i.labels) AS l (name, value)
WHERE l.value IS NOT NULL;

CREATE FUNCTION run_inputs_forget_labels() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_labels
    WHERE tenant_id = old.tenant_id AND run_id = old.run_id
        AND name IN (SELECT name FROM jsonb_object_keys(old.labels) AS name);
    RETURN NULL;
END
$$;

CREATE TRIGGER trg_run_inputs_labels AFTER DELETE ON run_inputs
FOR EACH ROW WHEN (old.labels <> '{}') EXECUTE FUNCTION run_inputs_forget_labels();
