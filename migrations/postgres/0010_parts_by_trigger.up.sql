-- Steps are inserted as events are: through the row of their run, which the same statement has locked. The check of
-- their foreign key is a query for every step that ended, a tenth of what the end of a run costs (docs/benchmarks.md),
-- and tells nothing that is not known. The trigger that removes the events of deleted runs removes their steps too.
ALTER TABLE run_steps DROP CONSTRAINT fk_run_steps_run;

CREATE OR REPLACE FUNCTION runs_forget_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_events WHERE run_key IN (SELECT key FROM gone);
    DELETE FROM run_steps WHERE run_key IN (SELECT key FROM gone);
    RETURN NULL;
END
$$;
