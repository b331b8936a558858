
    ORDER BY s.t DESC, s.a DESC, s.b DESC, s.run_id DESC
    LIMIT 1 OFFSET $23
) AS c
