-- What the guards of commits look at, for runs ($1) whose commit did not hold.
SELECT id, epoch, version, status, claimed_by, signal_seq, sequence_head
FROM runs
WHERE id = ANY ($1)
