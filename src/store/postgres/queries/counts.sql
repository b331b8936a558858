-- What a server has done for a database ($1) so far. Bytes of the log are those of the whole server.
SELECT
    xact_commit, tup_inserted + tup_updated + tup_deleted AS rows_written,
    (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS wal_bytes
FROM pg_stat_database
WHERE datname = $1
