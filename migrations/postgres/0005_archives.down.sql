DROP TABLE artifacts;
DROP INDEX idx_runs_unarchived;
ALTER TABLE runs DROP COLUMN archived_at;
DROP TABLE run_archives;
DROP TABLE archive_packs;
