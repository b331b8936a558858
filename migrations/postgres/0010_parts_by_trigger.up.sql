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

CREATE TRIGGER trg_runs_steps AFTER DELETE ON runs
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION runs_forget_steps();
