-- What workers serve, and their leases. A lease that has run out is marked in lost_at, so that it stays so whatever
-- the clock does. A worker without a lease lives by a lock.

ALTER TABLE workers ADD COLUMN lanes TEXT NOT NULL DEFAULT '[]'
CONSTRAINT chk_workers_lanes CHECK (json_valid(lanes));

ALTER TABLE workers ADD COLUMN slots INTEGER NOT NULL DEFAULT 0
CONSTRAINT chk_workers_slots CHECK (slots >= 0);

ALTER TABLE workers ADD COLUMN labels TEXT NOT NULL DEFAULT '{}'
CONSTRAINT chk_workers_labels CHECK (json_valid(labels));

ALTER TABLE workers ADD COLUMN draining INTEGER NOT NULL DEFAULT 0
CONSTRAINT chk_workers_draining CHECK (draining IN (0, 1));

ALTER TABLE workers ADD COLUMN lease_until INTEGER;

ALTER TABLE workers ADD COLUMN lost_at INTEGER;
