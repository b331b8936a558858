
    ORDER BY s.t DESC, s.a DESC, s.b DESC, s.run_id DESC
    LIMIT $4
) AS c
