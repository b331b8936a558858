-- $1 at most so many. Runs whose signals are not numbered from 1 to the number received, or of which more were taken in.
SELECT hex(runs.id)
FROM runs LEFT JOIN (
    SELECT run_key, count(*) AS signals, max(seq) AS last FROM run_signals GROUP BY run_key
) AS s ON s.run_key = runs.key
WHERE runs.signals_applied > runs.signal_seq
    OR coalesce(s.signals, 0) <> runs.signal_seq OR coalesce(s.last, 0) <> runs.signal_seq
ORDER BY runs.id
LIMIT +$1;
