-- How far back the newest runs of an index reach: the least dense index is the one to take a list from. Of several ranges,
-- where the middle one of them is after $23 runs; $24 is half the number of ranges. No row if there are too few runs.
SELECT id FROM (
