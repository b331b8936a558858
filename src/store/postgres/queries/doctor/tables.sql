-- Our tables: rows that are dead, whether and when they were vacuumed, and what this role may not do with them.
SELECT c.relname::text AS name,
    coalesce(s.n_live_tup, 0) AS live,
    coalesce(s.n_dead_tup, 0) AS dead,
    greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at,
    NOT coalesce('autovacuum_enabled=false' = ANY (c.reloptions), false) AS is_vacuumed,
    array_to_string(
        ARRAY(
            SELECT p.word
            FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p (word)
            WHERE NOT has_table_privilege(c.oid, p.word) AND (c.relname <> 'schema_migrations' OR p.word = 'SELECT')
        ), ', '
    ) AS missing
FROM pg_class AS c LEFT JOIN pg_stat_user_tables AS s ON s.relid = c.oid
WHERE c.relnamespace = current_schema::regnamespace AND c.relkind IN ('r', 'p') AND c.relname = ANY ($1::text[])
ORDER BY 1
