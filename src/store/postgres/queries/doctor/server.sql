-- What a server is, how it is set, and how it does: one row.
SELECT
    current_setting('server_version_num')::bigint AS version,
    current_setting('server_version') AS version_name,
    pg_is_in_recovery() AS is_standby,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('autovacuum') AS autovacuum,
    current_setting('max_connections')::bigint AS max_connections,
    (SELECT setting::bigint FROM pg_settings WHERE name = 'superuser_reserved_connections') AS reserved_connections,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
    (SELECT setting::bigint FROM pg_settings WHERE name = 'statement_timeout') AS statement_timeout_ms,
    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS is_encrypted,
    inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1' AS is_local,
    current_user::text AS role,
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
    has_schema_privilege(current_schema, 'CREATE') AS may_create,
    to_regrole('opsroom_readwrite') IS NOT NULL AND to_regrole('opsroom_readonly') IS NOT NULL
        AND to_regrole('opsroom_migrate') IS NOT NULL AS has_roles,
    d.blks_hit AS blocks_hit,
    d.blks_read AS blocks_read,
    (
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
            AND query_start < clock_timestamp() - interval '1 second'
    ) AS waiting,
    (
        SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::bigint FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    ) AS oldest_transaction_s
FROM pg_stat_database AS d
WHERE d.datname = current_database()
