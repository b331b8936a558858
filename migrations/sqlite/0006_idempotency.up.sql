-- What writes answered, by the key that their requests gave: a repeated request gets the same again.
CREATE TABLE idempotency_keys (
    id          INTEGER NOT NULL,
    tenant_id   BLOB    NOT NULL,
    key         TEXT    NOT NULL,
    -- Of the whole request: method, path, query, body.
    body_digest BLOB    NOT NULL,
    status      INTEGER NOT NULL,
    body        BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (id),
    CONSTRAINT uq_idempotency_keys_key UNIQUE (tenant_id, key),
    CONSTRAINT chk_idempotency_keys_tenant CHECK (length(tenant_id) = 16),
    CONSTRAINT chk_idempotency_keys_key CHECK (length(key) BETWEEN 1 AND 255),
    CONSTRAINT chk_idempotency_keys_digest CHECK (length(body_digest) = 32),
    CONSTRAINT chk_idempotency_keys_status CHECK (status BETWEEN 100 AND 599)
) STRICT;

-- For pruning, oldest first.
CREATE INDEX idx_idempotency_keys_created_at ON idempotency_keys (created_at);
