-- Steps are inserted as events are: through the row of their run, which the same statement has locked. The check of
-- their foreign key is a query for every step that ended, a tenth of what the end of a run costs (docs/benchmarks.md),
-- and tells nothing that is not known. A trigger removes them with their run, as one does with events.
ALTER TABLE run_steps DROP CONSTRAINT fk_run_steps_run;

CREATE FUNCTION runs_forget_steps() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_steps WHERE run_key IN (SELECT key FROM gone);
    RETURN NULL;
END
$$;

-- Whoever may change the table may change what belongs to it.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION runs_forget_steps() OWNER TO %I',
        (SELECT rolname FROM pg_roles JOIN pg_class ON relowner = pg_roles.oid WHERE pg_class.oid = 'runs'::regclass));
END
$$;

CREATE TRIGGER trg_runs_steps AFTER DELETE ON runs
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION runs_forget_steps();

-- The same constraints in fewer words. PostgreSQL reads the text of a table's CHECK constraints anew for every statement
-- that writes to it; a list of words in one constant is read sooner than a list of constants, which has to be evaluated
-- as well (10 us of a commit of one run: docs/benchmarks.md).
ALTER TABLE runs
    DROP CONSTRAINT chk_runs_lane,
    DROP CONSTRAINT chk_runs_status,
    DROP CONSTRAINT chk_runs_owner,
    DROP CONSTRAINT chk_runs_unowned,
    DROP CONSTRAINT chk_runs_waiting_on,
    DROP CONSTRAINT chk_runs_ended_at,
    DROP CONSTRAINT chk_runs_counters,
    ADD CONSTRAINT chk_runs_lane CHECK (lane = ANY ('{A,B,C,D}')),
    ADD CONSTRAINT chk_runs_status CHECK (
        status = ANY ('{queued,claimed,running,succeeded,failed,cancelled,timed_out}')
    ),
    -- B4: an owned run says who owns it, since when, and when it was last heard of.
    ADD CONSTRAINT chk_runs_owner CHECK (
        status <> ALL ('{claimed,running}') OR num_nulls(claimed_by, claimed_at, heartbeat_at) = 0
    ),
    ADD CONSTRAINT chk_runs_unowned CHECK (
        status <> 'queued' OR num_nonnulls(claimed_by, claimed_at, heartbeat_at) = 0
    ),
    ADD CONSTRAINT chk_runs_waiting_on CHECK (waiting_on = ANY ('{capacity,timer,step_outcome}')),
    ADD CONSTRAINT chk_runs_ended_at CHECK ((ended_at IS NULL) = (status = ANY ('{queued,claimed,running}'))),
    ADD CONSTRAINT chk_runs_counters CHECK (
        least(epoch, version, sequence_head, signals_applied, recoveries_applied) >= 0
        AND signals_applied <= signal_seq AND recoveries_applied <= recoveries
    );

ALTER TABLE run_events
    DROP CONSTRAINT chk_run_events_sequence,
    DROP CONSTRAINT chk_run_events_category,
    ADD CONSTRAINT chk_run_events_sequence CHECK (least(sequence, prev) >= 0),
    ADD CONSTRAINT chk_run_events_category CHECK (category = ANY ('{lifecycle,llm,dispatch,system}'));

ALTER TABLE run_steps
    DROP CONSTRAINT chk_run_steps_status,
    DROP CONSTRAINT chk_run_steps_numbers,
    ADD CONSTRAINT chk_run_steps_status CHECK (
        status = ANY ('{pending,running,retrying,waiting,succeeded,failed,skipped,blocked,cancelled,unknown}')
    ),
    ADD CONSTRAINT chk_run_steps_numbers CHECK (least(step_index, attempts) >= 0);

-- Of indexes that seem equally cheap the planner takes the one that was made last. In a table of a few rows a walk through
-- idx_runs_lane seems as cheap as a look-up by id, and the plan is kept while the table grows: so this is made last. (The
-- test of the plans looks at such tables.)
ALTER TABLE runs DROP CONSTRAINT uq_runs_id, ADD CONSTRAINT uq_runs_id UNIQUE (id);
