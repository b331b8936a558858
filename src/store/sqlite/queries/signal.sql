-- $1 run, $2 at, $3 kind, $4 data, $5 the word `queued`, $6 the word `capacity`. Answers the run's status
-- and, unless it has ended, the signal's number.
BEGIN IMMEDIATE;

UPDATE runs SET signal_seq = signal_seq + 1 WHERE id = $1 AND ended_at IS NULL;

INSERT INTO run_signals (run_key, seq, at, kind, data)
SELECT key, signal_seq, $2, $3, $4 FROM runs WHERE id = $1 AND ended_at IS NULL;

-- Nobody owns it: somebody must take the signal in.
UPDATE runs
SET waiting_on = $6, claimable = 1, wake_at = NULL, epoch = epoch + 1, version = version + 1
WHERE id = $1 AND status = $5;

SELECT status, signal_seq FROM runs WHERE id = $1;

COMMIT;
