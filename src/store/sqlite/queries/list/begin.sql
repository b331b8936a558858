-- Runs, newest first. A list is put together from this, one `by_*.sql` for each index that it takes its runs from
-- (joined by UNION), `filter.sql` after each of those, and `end.sql`. All share their arguments:
-- $1 tenant; $2 and $3 the first and last id; $4 at most so many. The filters, each NULL for "any":
-- $5 status words (JSON array); $6 lane; $7 runbook; $8 session; $9 kind and $10 actor of the trigger;
-- $11 labels with their values (JSON array of pairs); $12 names of labels (JSON array);
-- $13 runbooks, $14 actors, $15 labels (pairs) that have the text, $16 and $17 the ids that begin with it.
-- $18 the ranges of the index to merge (JSON array), where it is not one of the filters; $19 whether the runs are taken
-- from the indexes that have the text.
WITH picked AS (
