SELECT host || ' (pid ' || pid || ')' FROM workers
WHERE beat_at > clock_timestamp() - interval '1 minute'
ORDER BY 1
