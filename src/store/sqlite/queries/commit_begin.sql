-- The first part of every commit script. The parts share their arguments: $1 running commits, $2 events,
-- $3 parks and ends, $4 steps at rest, each a JSON array of arrays; $5 to $8 how long each is. jsonb_each
-- hands its rows out as JSONB, which is taken apart without being rendered and parsed again (measured: 1.6
-- times the rate of json_each).
BEGIN IMMEDIATE;
