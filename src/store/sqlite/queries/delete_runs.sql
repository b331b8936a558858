-- What belongs to them goes with them, by their foreign keys.
DELETE FROM runs WHERE id IN (SELECT unhex(value) FROM json_each($1)) AND ended_at IS NOT NULL;
