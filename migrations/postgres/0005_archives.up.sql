-- What remains of runs: the archive of their events, and the index of their artifacts.

-- Files in the artifact store, each with the archives of many runs one after another: a file and a sync for
-- each small run would cost more than the run.
CREATE TABLE archive_packs (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    artifact   text        NOT NULL COLLATE "C",
    created_at timestamptz NOT NULL,
    CONSTRAINT pk_archive_packs PRIMARY KEY (id),
    CONSTRAINT uq_archive_packs_artifact UNIQUE (artifact)
);

CREATE TABLE run_archives (
    run_key       bigint      NOT NULL,
    pack_id       bigint      NOT NULL,
    position      bigint      NOT NULL,
    size          bigint      NOT NULL,
    digest        bytea       NOT NULL,
    -- The last link of the hash chain over the events.
    head          bytea       NOT NULL,
    events        bigint      NOT NULL,
    last_sequence bigint      NOT NULL,
    archived_at   timestamptz NOT NULL,
    -- Whether the run's rows in run_events are gone, so that only the archive has its events.
    trimmed       boolean     NOT NULL,
    CONSTRAINT pk_run_archives PRIMARY KEY (run_key),
    CONSTRAINT fk_run_archives_run FOREIGN KEY (run_key) REFERENCES runs (key) ON DELETE CASCADE,
    CONSTRAINT fk_run_archives_pack FOREIGN KEY (pack_id) REFERENCES archive_packs (id),
    CONSTRAINT chk_run_archives_digests CHECK (length(digest) = 32 AND length(head) = 32),
    CONSTRAINT chk_run_archives_numbers CHECK (position >= 0 AND size >= 0 AND events >= 0 AND last_sequence >= 0)
);

-- What is to be trimmed, and what has been and is to be deleted, oldest first.
CREATE INDEX idx_run_archives_age ON run_archives (trimmed, archived_at);
-- For the foreign key, and to find packs that nobody needs any more.
CREATE INDEX idx_run_archives_pack ON run_archives (pack_id);

ALTER TABLE runs ADD COLUMN archived_at timestamptz
    CONSTRAINT chk_runs_archived_at CHECK (archived_at IS NULL OR ended_at IS NOT NULL);
-- Ended runs without an archive: short, as it is worked off all the time.
CREATE INDEX idx_runs_unarchived ON runs (ended_at) WHERE ended_at IS NOT NULL AND archived_at IS NULL;

-- What runs have left behind. The content is in the artifact store under `artifact`, that of links is `url`.
CREATE TABLE artifacts (
    id         uuid        NOT NULL,
    run_key    bigint      NOT NULL,
    tenant_id  uuid        NOT NULL,
    -- Empty for what a person or a program has added to the run.
    step       text        NOT NULL COLLATE "C",
    name       text        NOT NULL COLLATE "C",
    kind       text        NOT NULL COLLATE "C",
    media_type text        NOT NULL,
    size       bigint      NOT NULL,
    digest     bytea       NOT NULL,
    artifact   text        COLLATE "C",
    url        text,
    created_at timestamptz NOT NULL,
    created_by text        NOT NULL COLLATE "C",
    CONSTRAINT pk_artifacts PRIMARY KEY (run_key, name, step),
    CONSTRAINT uq_artifacts_id UNIQUE (id),
    CONSTRAINT fk_artifacts_run FOREIGN KEY (run_key) REFERENCES runs (key) ON DELETE CASCADE,
    CONSTRAINT chk_artifacts_kind CHECK (kind IN ('file', 'markdown', 'json', 'link')),
    CONSTRAINT chk_artifacts_size CHECK (size >= 0),
    CONSTRAINT chk_artifacts_digest CHECK (length(digest) = 32),
    CONSTRAINT chk_artifacts_place CHECK (
        (kind = 'link') = (url IS NOT NULL) AND (url IS NULL) = (artifact IS NOT NULL)
    )
);
