CREATE OR REPLACE FUNCTION runs_forget_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_events WHERE run_key IN (SELECT key FROM gone);
    RETURN NULL;
END
$$;

ALTER TABLE run_steps
    ADD CONSTRAINT fk_run_steps_run FOREIGN KEY (run_key) REFERENCES runs (key) ON DELETE CASCADE;
