-- The first key that no run has.
SELECT coalesce(max(key), 0) + 1 FROM runs;
