-- One row for each runbook: what is read to find its latest version.
CREATE TABLE runbooks (
    key       bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id uuid   NOT NULL,
    name      text   NOT NULL COLLATE "C",
    latest    bigint NOT NULL,
    CONSTRAINT pk_runbooks PRIMARY KEY (key),
    -- Also for lists, in the order of names.
    CONSTRAINT uq_runbooks_name UNIQUE (tenant_id, name),
    CONSTRAINT chk_runbooks_latest CHECK (latest >= 0)
);

-- Versions never change.
CREATE TABLE runbook_versions (
    runbook_key   bigint      NOT NULL,
    version       bigint      NOT NULL,
    tenant_id     uuid        NOT NULL,
    digest        bytea       NOT NULL,
    plan_digest   bytea       NOT NULL,
    bundle_digest bytea,
    origin        text        NOT NULL COLLATE "C",
    created_at    timestamptz NOT NULL,
    source        text        NOT NULL,
    CONSTRAINT pk_runbook_versions PRIMARY KEY (runbook_key, version),
    CONSTRAINT fk_runbook_versions_runbook FOREIGN KEY (runbook_key) REFERENCES runbooks (key) ON DELETE CASCADE,
    CONSTRAINT fk_runbook_versions_plan FOREIGN KEY (tenant_id, plan_digest) REFERENCES plans (tenant_id, digest),
    CONSTRAINT chk_runbook_versions_version CHECK (version BETWEEN 1 AND 4294967295),
    CONSTRAINT chk_runbook_versions_digest CHECK (
        length(digest) = 32 AND (bundle_digest IS NULL OR length(bundle_digest) = 32)
    )
);

-- For the foreign key, when plans are deleted.
CREATE INDEX idx_runbook_versions_plan ON runbook_versions (tenant_id, plan_digest);
-- The last version that came from a file.
CREATE INDEX idx_runbook_versions_origin ON runbook_versions (runbook_key, origin, version);
