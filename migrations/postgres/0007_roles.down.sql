DO $realtime$
BEGIN
    IF EXISTS (SELECT FROM pg_publication_tables WHERE pubname = 'supabase_realtime' AND tablename = 'run_events') THEN
        ALTER PUBLICATION supabase_realtime DROP TABLE runs, run_events;
    END IF;
EXCEPTION
    WHEN undefined_object OR insufficient_privilege THEN
        RAISE NOTICE 'opsroom: the publication supabase_realtime is left alone: %', SQLERRM;
END
$realtime$;

DROP FUNCTION opsroom_grant(regclass[]);

-- The tables go back to whoever migrates; policies and row-level security with them.
DO $tables$
DECLARE
    made regclass;
BEGIN
    FOREACH made IN ARRAY ARRAY[
        'plans', 'runs', 'run_inputs', 'run_events', 'run_steps', 'run_signals', 'workers', 'probes', 'sessions',
        'run_labels', 'runbooks', 'runbook_versions', 'archive_packs', 'run_archives', 'artifacts',
        'idempotency_keys', 'schema_migrations'
    ]::regclass[] LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO CURRENT_USER', made);
        EXECUTE format('DROP POLICY IF EXISTS pol_readwrite ON %s', made);
        EXECUTE format('DROP POLICY IF EXISTS pol_readonly ON %s', made);
        EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', made);
    END LOOP;
END
$tables$;

-- What the roles still have here; the roles themselves only where no other database needs them.
DO $roles$
DECLARE
    unwanted text;
BEGIN
    FOREACH unwanted IN ARRAY ARRAY['opsroom_readonly', 'opsroom_readwrite', 'opsroom_migrate'] LOOP
        IF to_regrole(unwanted) IS NOT NULL THEN
            BEGIN
                EXECUTE format('DROP OWNED BY %I', unwanted);
                EXECUTE format('DROP ROLE %I', unwanted);
            EXCEPTION
                WHEN dependent_objects_still_exist OR insufficient_privilege OR object_in_use THEN
                    RAISE NOTICE 'opsroom: the role % is kept: %', unwanted, SQLERRM;
            END;
        END IF;
    END LOOP;
END
$roles$;
