ALTER TABLE workers DROP COLUMN lost_at;
ALTER TABLE workers DROP COLUMN lease_until;
ALTER TABLE workers DROP COLUMN draining;
ALTER TABLE workers DROP COLUMN labels;
ALTER TABLE workers DROP COLUMN slots;
ALTER TABLE workers DROP COLUMN lanes;
