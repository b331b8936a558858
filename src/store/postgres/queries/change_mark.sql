-- Changes exactly when a transaction that has written becomes visible; the position in the log would move before
-- that, and its reader would look too early.
SELECT hashtextextended(pg_current_snapshot()::text, 0)
