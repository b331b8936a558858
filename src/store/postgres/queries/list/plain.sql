
    ORDER BY s.run_id DESC
    LIMIT $4
) AS c
