
        ORDER BY 1 DESC
        LIMIT 1 OFFSET $20
    )
)) AS c
