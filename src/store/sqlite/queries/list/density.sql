
        ORDER BY 1 DESC
        LIMIT 1 OFFSET 500
    )
)) AS c
