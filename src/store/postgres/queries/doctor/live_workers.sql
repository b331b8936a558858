SELECT host || ' (pid ' || pid || ')' FROM workers
WHERE lost_at IS NULL AND lease_until >= clock_timestamp()
ORDER BY 1
