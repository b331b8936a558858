-- One row that the benchmark rewrites, to learn what a durable commit costs here at the least.
CREATE TABLE probes (
    id      integer NOT NULL,
    written bigint  NOT NULL,
    CONSTRAINT pk_probes PRIMARY KEY (id),
    CONSTRAINT chk_probes_id CHECK (id = 1)
) WITH (fillfactor = 10);

INSERT INTO probes (id, written) VALUES (1, 0);
