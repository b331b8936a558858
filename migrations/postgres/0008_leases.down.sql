ALTER TABLE workers RESET (fillfactor);

ALTER TABLE workers
    DROP COLUMN lost_at,
    DROP COLUMN lease_until,
    DROP COLUMN draining,
    DROP COLUMN labels,
    DROP COLUMN slots,
    DROP COLUMN lanes;
