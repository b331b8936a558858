
            -- The + keeps the planner to the index that the source is about.
            AND +runs.tenant_id = $1
            AND ($5 IS NULL OR runs.status IN (SELECT value FROM json_each($5)))
            AND ($6 IS NULL OR runs.lane = $6)
            AND ($7 IS NULL OR i.runbook = $7)
            AND ($8 IS NULL OR runs.session_id = $8)
            AND ($9 IS NULL OR i.trigger_kind = $9)
            AND ($10 IS NULL OR i.trigger_actor = $10)
            AND ($11 IS NULL OR NOT EXISTS (
                SELECT 1 FROM json_each($11) AS pair
                WHERE NOT EXISTS (
                    SELECT 1 FROM run_labels AS x
                    WHERE x.tenant_id = $1 AND x.name = pair.value ->> 0 AND x.value = pair.value ->> 1
                        AND x.run_id = runs.id
                )
            ))
            AND ($12 IS NULL OR NOT EXISTS (
                SELECT 1 FROM json_each($12) AS name WHERE name.value NOT IN (SELECT key FROM json_each(i.labels))
            ))
            AND ($13 IS NULL OR $19 OR i.runbook IN (SELECT value FROM json_each($13))
                OR i.trigger_actor IN (SELECT value FROM json_each($14))
                OR runs.id BETWEEN $16 AND $17
                OR EXISTS (
                    SELECT 1 FROM json_each($15) AS pair CROSS JOIN run_labels AS x
                    WHERE x.tenant_id = $1 AND x.name = pair.value ->> 0 AND x.value = pair.value ->> 1
                        AND x.run_id = runs.id
                ))
        ORDER BY 1 DESC
        LIMIT +$4
    )
)) AS c
