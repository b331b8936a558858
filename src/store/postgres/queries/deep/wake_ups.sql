-- $1 at most so many. Parked runs that should have been woken a minute ago.
SELECT id::text FROM runs WHERE wake_at < clock_timestamp() - interval '1 minute' ORDER BY wake_at LIMIT $1
