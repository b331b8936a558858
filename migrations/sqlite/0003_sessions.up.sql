-- Sessions, and what lists of runs are filtered by.

CREATE TABLE sessions (
    id          BLOB    NOT NULL,
    tenant_id   BLOB    NOT NULL,
    name        TEXT    NOT NULL,
    labels      TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    created_by  TEXT    NOT NULL,
    archived_at INTEGER,
    CONSTRAINT pk_sessions PRIMARY KEY (id),
    CONSTRAINT chk_sessions_id CHECK (length(id) = 16 AND length(tenant_id) = 16)
) STRICT, WITHOUT ROWID;

-- Lists, newest first: all, and those that are open.
CREATE INDEX idx_sessions_tenant ON sessions (tenant_id, id);
CREATE INDEX idx_sessions_open ON sessions (tenant_id, id) WHERE archived_at IS NULL;

ALTER TABLE runs ADD COLUMN session_id BLOB
CONSTRAINT fk_runs_session REFERENCES sessions (id)
CONSTRAINT chk_runs_session CHECK (length(session_id) = 16);

ALTER TABLE run_inputs ADD COLUMN runbook_version INTEGER
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
    tenant_id BLOB NOT NULL,
    name      TEXT NOT NULL,
    -- The text of a string, or the JSON of anything else.
    value     TEXT NOT NULL,
    run_id    BLOB NOT NULL,
    CONSTRAINT pk_run_labels PRIMARY KEY (tenant_id, name, value, run_id)
) STRICT, WITHOUT ROWID;

INSERT INTO run_labels (tenant_id, name, value, run_id)
SELECT i.tenant_id, l.key, iif(l.type = 'text', l.atom, i.labels -> l.fullkey), i.run_id
FROM run_inputs AS i CROSS JOIN json_each(i.labels) AS l
WHERE i.labels <> '{}';

CREATE TRIGGER trg_run_inputs_labels AFTER DELETE ON run_inputs WHEN old.labels <> '{}' BEGIN
    DELETE FROM run_labels
    WHERE tenant_id = old.tenant_id AND run_id = old.run_id
        AND name IN (SELECT key FROM json_each(old.labels))
        AND value IN (SELECT iif(type = 'text', atom, old.labels -> fullkey) FROM json_each(old.labels));
END;
