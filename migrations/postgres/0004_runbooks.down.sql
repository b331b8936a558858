DROP TABLE runbook_versions;
DROP TABLE runbooks;
