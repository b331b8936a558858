-- $1 at most so many. Parked runs that should have been woken a minute ago.
SELECT hex(id) FROM runs
WHERE wake_at < CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) - 60000000
ORDER BY wake_at LIMIT +$1;
