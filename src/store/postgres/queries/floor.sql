-- The least that a durable commit can be: one row, found by its key, rewritten in place.
UPDATE probes SET written = written + 1 WHERE id = 1
