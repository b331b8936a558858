-- What writes answered, by the key that their requests gave: a repeated request gets the same again.
CREATE TABLE idempotency_keys (
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    tenant_id   uuid        NOT NULL,
    key         text        NOT NULL COLLATE "C",
    -- Of the whole request: method, path, query, body.
    body_digest bytea       NOT NULL,
    status      integer     NOT NULL,
    body        bytea       NOT NULL,
    created_at  timestamptz NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (id),
    CONSTRAINT uq_idempotency_keys_key UNIQUE (tenant_id, key),
    CONSTRAINT chk_idempotency_keys_key CHECK (length(key) BETWEEN 1 AND 255),
    CONSTRAINT chk_idempotency_keys_digest CHECK (length(body_digest) = 32),
    CONSTRAINT chk_idempotency_keys_status CHECK (status BETWEEN 100 AND 599)
);

-- For pruning, oldest first.
CREATE INDEX idx_idempotency_keys_created_at ON idempotency_keys (created_at);
