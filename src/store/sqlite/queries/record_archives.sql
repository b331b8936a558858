-- $1 the file, $2 when, $3 the archives in it.
BEGIN IMMEDIATE;

INSERT INTO archive_packs (artifact, created_at) VALUES ($1, $2) ON CONFLICT (artifact) DO NOTHING;

INSERT INTO run_archives (
    run_key, pack_id, position, size, digest, head, events, last_sequence, archived_at, trimmed
)
SELECT runs.key, (SELECT id FROM archive_packs WHERE artifact = $1), a.value ->> 1, a.value ->> 2,
    unhex(a.value ->> 3), unhex(a.value ->> 4), a.value ->> 5, a.value ->> 6, a.value ->> 7, 0
FROM jsonb_each($3) AS a CROSS JOIN runs ON runs.id = unhex(a.value ->> 0)
WHERE runs.ended_at IS NOT NULL
ON CONFLICT (run_key) DO NOTHING;

UPDATE runs
SET archived_at = a.value ->> 7
FROM jsonb_each($3) AS a
WHERE runs.id = unhex(a.value ->> 0) AND runs.ended_at IS NOT NULL AND runs.archived_at IS NULL;

COMMIT;
