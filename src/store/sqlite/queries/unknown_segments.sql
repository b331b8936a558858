SELECT value FROM json_each($1) WHERE value NOT IN (SELECT artifact FROM event_segments);
