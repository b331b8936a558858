-- What the server knows of the database. Counted since the statistics were last reset.
SELECT
    blks_hit::float8 / greatest(1, blks_hit + blks_read) AS cache_hit_ratio,
    deadlocks::float8 AS deadlocks,
    (SELECT count(*) FROM pg_stat_activity AS a WHERE a.datid = d.datid AND a.wait_event_type = 'Lock')::float8 AS lock_waits
FROM pg_stat_database AS d
WHERE datname = current_database()
