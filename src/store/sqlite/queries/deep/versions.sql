-- $1 at most so many. Runbooks whose versions are not numbered from 1 to the latest.
SELECT r.name
FROM runbooks AS r LEFT JOIN (
    SELECT runbook_key, count(*) AS versions, max(version) AS last FROM runbook_versions GROUP BY runbook_key
) AS v ON v.runbook_key = r.key
WHERE coalesce(v.versions, 0) <> r.latest OR coalesce(v.last, 0) <> r.latest
ORDER BY r.name
LIMIT +$1;
