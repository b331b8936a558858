-- How far back the newest 500 runs of an index reach: the least dense index is the one to take a list from.
-- Answers no row if there are fewer.
SELECT max(id) FROM (
