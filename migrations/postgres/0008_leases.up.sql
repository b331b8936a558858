-- What workers serve, and their leases. A lease that has run out is marked in lost_at, so that it stays so whatever
-- the clock does. No index: there are few workers, and without one every beat is a HOT update.

ALTER TABLE workers
    ADD COLUMN lanes       text[]      NOT NULL DEFAULT '{}',
    ADD COLUMN slots       integer     NOT NULL DEFAULT 0,
    ADD COLUMN labels      jsonb       NOT NULL DEFAULT '{}',
    ADD COLUMN draining    boolean     NOT NULL DEFAULT false,
    ADD COLUMN lease_until timestamptz,
    ADD COLUMN lost_at     timestamptz,
    ADD CONSTRAINT chk_workers_lanes CHECK (lanes <@ ARRAY['A', 'B', 'C', 'D']),
    ADD CONSTRAINT chk_workers_slots CHECK (slots >= 0),
    ADD CONSTRAINT chk_workers_labels CHECK (jsonb_typeof(labels) = 'object');

-- A row is rewritten every few seconds; room for that on its own page.
ALTER TABLE workers SET (fillfactor = 50);
