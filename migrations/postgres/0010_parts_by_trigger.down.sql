DROP TRIGGER trg_runs_steps ON runs;
DROP FUNCTION runs_forget_steps;

ALTER TABLE run_steps
    ADD CONSTRAINT fk_run_steps_run FOREIGN KEY (run_key) REFERENCES runs (key) ON DELETE CASCADE;
