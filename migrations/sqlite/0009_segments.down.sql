DROP TABLE event_segments;
