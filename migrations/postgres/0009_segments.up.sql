-- Where the chunks of runs are that were written on other machines: parts of files in the artifact store, each
-- file with the chunks of many runs. Rows go when their runs are archived.
CREATE TABLE event_segments (
    run_key        bigint      NOT NULL,
    first_sequence bigint      NOT NULL,
    last_sequence  bigint      NOT NULL,
    artifact       text        NOT NULL,
    -- The first byte in that file, and how many.
    position       bigint      NOT NULL,
    size           bigint      NOT NULL,
    digest         bytea       NOT NULL,
    created_at     timestamptz NOT NULL,
    CONSTRAINT pk_event_segments PRIMARY KEY (run_key, first_sequence),
    CONSTRAINT fk_event_segments_run FOREIGN KEY (run_key) REFERENCES runs (key) ON DELETE CASCADE,
    CONSTRAINT chk_event_segments_sequences CHECK (first_sequence > 0 AND last_sequence >= first_sequence),
    CONSTRAINT chk_event_segments_place CHECK (position >= 0 AND size > 0),
    CONSTRAINT chk_event_segments_digest CHECK (length(digest) = 32)
);

-- To find the files that nobody needs any more.
CREATE INDEX idx_event_segments_artifact ON event_segments (artifact);

SELECT opsroom_grant('event_segments');
