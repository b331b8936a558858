-- $1 the file, $2 when; of the archives in it: $3 runs, $4 positions, $5 sizes, $6 digests, $7 heads, $8 numbers of events,
-- $9 last sequences, $10 times. Of two processes that archive the same run, the second waits for the first at the run's row
-- and leaves its archive as it is.
WITH locked AS MATERIALIZED (
    -- Not `IS NOT NULL`: found by their ids, not in an index of ended runs.
    SELECT key, id FROM runs
    WHERE id = ANY ($3::uuid[]) AND coalesce(ended_at, 'infinity') <> 'infinity'
    ORDER BY id
    FOR NO KEY UPDATE
), pack AS (
    INSERT INTO archive_packs (artifact, created_at) VALUES ($1, $2)
    ON CONFLICT (artifact) DO UPDATE SET artifact = excluded.artifact
    RETURNING id
), given AS (
    SELECT locked.key, a.*
    FROM unnest(
        $3::uuid[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[], $8::bigint[], $9::bigint[], $10::timestamptz[]
    ) AS a (run, position, size, digest, head, events, last_sequence, at)
    JOIN locked ON locked.id = a.run
), recorded AS (
    INSERT INTO run_archives (
        run_key, pack_id, position, size, digest, head, events, last_sequence, archived_at, trimmed
    )
    SELECT g.key, pack.id, g.position, g.size, g.digest, g.head, g.events, g.last_sequence, g.at, false
    FROM given AS g CROSS JOIN pack
    ON CONFLICT (run_key) DO NOTHING
)
UPDATE runs
SET archived_at = g.at
FROM given AS g
-- A range is taken for few rows (claim.sql).
WHERE runs.key = g.key AND g.key BETWEEN 1 AND 9223372036854775806 AND runs.archived_at IS NULL
