-- Roles of least privilege, and what makes the schema safe to have beside others.
--
--   opsroom_migrate    owns the tables; who is a member may migrate
--   opsroom_readwrite  what `serve`, `worker` and `scheduler` need
--   opsroom_readonly   reports, PostgREST, people who look
--
-- They are groups: give a login one of them (GRANT opsroom_readwrite TO login), or let them log in themselves.
-- Row-level security is on for every table, with policies for these roles only: where a platform grants new tables to
-- everybody (Supabase does, to `anon`), nobody else sees a row. Owners are not bound by it.
-- Where the migrating role may not create roles, all this is left out with a NOTICE, and `opsroom doctor` says so.

DO $roles$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['opsroom_migrate', 'opsroom_readwrite', 'opsroom_readonly'] LOOP
        BEGIN
            IF to_regrole(wanted) IS NULL THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            END IF;
        EXCEPTION
            -- Roles belong to all databases of the server: another one is being migrated.
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
    IF NOT pg_has_role('opsroom_migrate', 'MEMBER') THEN
        EXECUTE format('GRANT opsroom_migrate TO %I', current_user);
    END IF;
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO opsroom_migrate', current_schema);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO opsroom_readwrite, opsroom_readonly', current_schema);
    -- For tables that a migration made and forgot to grant.
    EXECUTE format(
        'ALTER DEFAULT PRIVILEGES FOR ROLE opsroom_migrate IN SCHEMA %I'
        ' GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO opsroom_readwrite', current_schema);
    EXECUTE format(
        'ALTER DEFAULT PRIVILEGES FOR ROLE opsroom_migrate IN SCHEMA %I GRANT SELECT ON TABLES TO opsroom_readonly',
        current_schema);
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'opsroom: roles and grants are left out: %', SQLERRM;
END
$roles$;

-- For every migration that makes tables: SELECT opsroom_grant('name', …).
CREATE FUNCTION opsroom_grant(VARIADIC tables regclass[]) RETURNS void LANGUAGE plpgsql AS $grant$
DECLARE
    made regclass;
BEGIN
    FOREACH made IN ARRAY tables LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', made);
        BEGIN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO opsroom_readwrite', made);
            EXECUTE format('GRANT SELECT ON %s TO opsroom_readonly', made);
            EXECUTE format('CREATE POLICY pol_readwrite ON %s TO opsroom_readwrite USING (true) WITH CHECK (true)', made);
            EXECUTE format('CREATE POLICY pol_readonly ON %s FOR SELECT TO opsroom_readonly USING (true)', made);
            EXECUTE format('ALTER TABLE %s OWNER TO opsroom_migrate', made);
        EXCEPTION
            -- No such role, or no right to pass the table on.
            WHEN undefined_object OR insufficient_privilege THEN
                RAISE NOTICE 'opsroom: grants on % are left out: %', made, SQLERRM;
        END;
    END LOOP;
END
$grant$;

SELECT opsroom_grant(
    'plans', 'runs', 'run_inputs', 'run_events', 'run_steps', 'run_signals', 'workers', 'probes', 'sessions',
    'run_labels', 'runbooks', 'runbook_versions', 'archive_packs', 'run_archives', 'artifacts', 'idempotency_keys',
    'schema_migrations'
);

-- Which migrations there are is nothing that a worker changes.
DO $migrations$
BEGIN
    REVOKE INSERT, UPDATE, DELETE ON schema_migrations FROM opsroom_readwrite;
EXCEPTION
    WHEN undefined_object OR insufficient_privilege THEN NULL;
END
$migrations$;

-- Supabase Realtime tells its subscribers of changes in this publication.
DO $realtime$
BEGIN
    IF EXISTS (SELECT FROM pg_publication WHERE pubname = 'supabase_realtime' AND NOT puballtables) THEN
        ALTER PUBLICATION supabase_realtime ADD TABLE runs, run_events;
    END IF;
EXCEPTION
    WHEN duplicate_object THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'opsroom: the publication supabase_realtime is left alone: %', SQLERRM;
END
$realtime$;
