-- $1 run, $2 at, $3 kind, $4 data, $5 the word `queued`, $6 the word `capacity`. Answers the signal's number, or none
-- and the status of a run that seems to have ended. Where nobody owns the run somebody must take the signal in.
--
-- Everything is made of the very row version that is written. Had the row been locked and read before, the first
-- thing to be checked would be a mixture of what was read and of the version that the statement began with.
WITH woken AS (
    UPDATE runs
    SET signal_seq = signal_seq + 1,
        waiting_on = CASE WHEN status = $5 THEN $6 END,
        claimable = status = $5,
        wake_at = NULL,
        epoch = epoch + (status = $5)::integer,
        version = version + (status = $5)::integer
    -- Not `IS NULL`: found by its id, not in the index of live runs.
    WHERE id = $1 AND coalesce(ended_at, 'infinity') = 'infinity'
    RETURNING key, status, signal_seq
),
said AS (
    INSERT INTO run_signals (run_key, seq, at, kind, data)
    SELECT key, signal_seq, $2, $3, $4::json FROM woken
)
SELECT status, signal_seq FROM woken
UNION ALL
SELECT status, NULL FROM runs WHERE id = $1 AND NOT EXISTS (SELECT FROM woken)
