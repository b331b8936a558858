
    ORDER BY s.run_id DESC
    LIMIT 1 OFFSET $23
) AS c
