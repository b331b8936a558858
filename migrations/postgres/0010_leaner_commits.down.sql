ALTER TABLE runs
    DROP CONSTRAINT chk_runs_lane,
    DROP CONSTRAINT chk_runs_status,
    DROP CONSTRAINT chk_runs_owner,
    DROP CONSTRAINT chk_runs_unowned,
    DROP CONSTRAINT chk_runs_waiting_on,
    DROP CONSTRAINT chk_runs_ended_at,
    DROP CONSTRAINT chk_runs_counters,
    ADD CONSTRAINT chk_runs_lane CHECK (lane IN ('A', 'B', 'C', 'D')),
    ADD CONSTRAINT chk_runs_status CHECK (
        status IN ('queued', 'claimed', 'running', 'succeeded', 'failed', 'cancelled', 'timed_out')
    ),
    ADD CONSTRAINT chk_runs_owner CHECK (
        status NOT IN ('claimed', 'running')
        OR (claimed_by IS NOT NULL AND claimed_at IS NOT NULL AND heartbeat_at IS NOT NULL)
    ),
    ADD CONSTRAINT chk_runs_unowned CHECK (
        status <> 'queued' OR (claimed_by IS NULL AND claimed_at IS NULL AND heartbeat_at IS NULL)
    ),
    ADD CONSTRAINT chk_runs_waiting_on CHECK (waiting_on IN ('capacity', 'timer', 'step_outcome')),
    ADD CONSTRAINT chk_runs_ended_at CHECK ((ended_at IS NULL) = (status IN ('queued', 'claimed', 'running'))),
    ADD CONSTRAINT chk_runs_counters CHECK (
        epoch >= 0 AND version >= 0 AND sequence_head >= 0
        AND signals_applied BETWEEN 0 AND signal_seq
        AND recoveries_applied BETWEEN 0 AND recoveries
    );

ALTER TABLE run_events
    DROP CONSTRAINT chk_run_events_sequence,
    DROP CONSTRAINT chk_run_events_category,
    ADD CONSTRAINT chk_run_events_sequence CHECK (sequence >= 0 AND prev >= 0),
    ADD CONSTRAINT chk_run_events_category CHECK (category IN ('lifecycle', 'llm', 'dispatch', 'system'));

ALTER TABLE run_steps
    DROP CONSTRAINT chk_run_steps_status,
    DROP CONSTRAINT chk_run_steps_numbers,
    ADD CONSTRAINT chk_run_steps_status CHECK (
        status IN (
            'pending', 'running', 'retrying', 'waiting', 'succeeded', 'failed', 'skipped', 'blocked', 'cancelled',
            'unknown'
        )
    ),
    ADD CONSTRAINT chk_run_steps_numbers CHECK (step_index >= 0 AND attempts >= 0);

DROP TRIGGER trg_runs_steps ON runs;
DROP FUNCTION runs_forget_steps;

ALTER TABLE run_steps
    ADD CONSTRAINT fk_run_steps_run FOREIGN KEY (run_key) REFERENCES runs (key) ON DELETE CASCADE;
