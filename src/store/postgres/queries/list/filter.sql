
    CROSS JOIN LATERAL (SELECT * FROM runs AS n WHERE n.id = s.run_id OFFSET 0) AS runs
    CROSS JOIN LATERAL (SELECT * FROM run_inputs AS n WHERE n.run_key = runs.key OFFSET 0) AS i
    WHERE ($5::text[] IS NULL OR runs.status = ANY ($5))
        AND ($6::text IS NULL OR runs.lane = $6)
        AND ($7::text IS NULL OR i.runbook = $7)
        AND ($8::uuid IS NULL OR runs.session_id = $8)
        AND ($9::text IS NULL OR i.trigger_kind = $9)
        AND ($10::text IS NULL OR i.trigger_actor = $10)
        AND ($11::text[] IS NULL OR NOT EXISTS (
            SELECT 1 FROM unnest($11::text[], $12::text[]) AS pair (name, value)
            WHERE NOT EXISTS (
                SELECT 1 FROM run_labels AS l
                WHERE l.tenant_id = $1 AND l.name = pair.name AND l.value = pair.value AND l.run_id = runs.id
                OFFSET 0
            )
        ))
        AND ($13::text[] IS NULL OR i.labels ?& $13)
        AND ($14::text[] IS NULL OR $22 OR i.runbook = ANY ($14) OR i.trigger_actor = ANY ($15)
            OR runs.id BETWEEN $18 AND $19
            OR EXISTS (
                SELECT 1 FROM unnest($16::text[], $17::text[]) AS pair (name, value)
                WHERE EXISTS (
                    SELECT 1 FROM run_labels AS l
                    WHERE l.tenant_id = $1 AND l.name = pair.name AND l.value = pair.value AND l.run_id = runs.id
                    OFFSET 0
                )
            ))
    ORDER BY s.run_id DESC
    LIMIT $4
) AS c
