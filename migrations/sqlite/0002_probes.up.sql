-- One row that the benchmark rewrites, to learn what a durable commit costs here at the least.
CREATE TABLE probes (
    id      INTEGER NOT NULL,
    written INTEGER NOT NULL,
    CONSTRAINT pk_probes PRIMARY KEY (id),
    CONSTRAINT chk_probes_id CHECK (id = 1)
) STRICT;

INSERT INTO probes (id, written) VALUES (1, 0);
