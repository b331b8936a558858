-- $1 run, $2 at, $3 kind, $4 data, $5 the word `queued`, $6 the word `capacity`. Answers the run's status before
-- and, unless it has ended, the signal's number. Where nobody owns the run somebody must take the signal in.
-- What is set follows from the row that is changed, not from `told`: where a claim came between, the server first
-- makes a row of the version before it and holds that against the constraints, and only then of the latest one.
WITH told AS MATERIALIZED (
    SELECT key, status, ended_at FROM runs WHERE id = $1 FOR NO KEY UPDATE
),
woken AS (
    UPDATE runs
    SET signal_seq = runs.signal_seq + 1,
        waiting_on = CASE WHEN runs.status = $5 THEN $6 END,
        claimable = runs.status = $5,
        wake_at = NULL,
        epoch = runs.epoch + (runs.status = $5)::integer,
        version = runs.version + (runs.status = $5)::integer
    FROM told
    WHERE runs.key = told.key AND told.ended_at IS NULL
    RETURNING runs.key, runs.signal_seq
),
said AS (
    INSERT INTO run_signals (run_key, seq, at, kind, data)
    SELECT key, signal_seq, $2, $3, $4::json FROM woken
)
SELECT told.status, woken.signal_seq FROM told LEFT JOIN woken ON woken.key = told.key
